package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cache"
	"ore/cache/serve/revoke"
	"ore/cache/serve/wire"
	"ore/image"
)

// Config is what a server is made of.
type Config struct {
	Dir    string
	Quota  int64  // bytes of blobs of each namespace; 0 means no limit
	Tokens string // file with the tokens; "" means the folder's own

	// Cache is how the namespaces' caches are used: whose signatures they trust,
	// and how they choose candidates.
	Cache cache.Config
	// Check looks at a manifest and its signature before the image is listed.
	// Nil accepts all: clients check for themselves.
	Check func(m image.Manifest, s image.Signature) error
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server serves the cache of one folder. See [Server.Handler] and
// [Server.Serve]. Its methods may be called concurrently.
type Server struct {
	Config
	tokens  *Tokens
	revoked *revoke.List
	lock    *os.File
	derived *derived
	leases  *leases
	served  atomic.Int64
	started time.Time
	fresh   chan fresh // images for which patches are made ahead of need

	ctx   context.Context // ends with the server
	end   context.CancelFunc
	group sync.WaitGroup

	mu      sync.Mutex
	spaces  map[string]*space  // guarded by mu
	uploads map[string]*upload // guarded by mu; by id
}

// ErrServed is returned when another server has the folder.
var ErrServed = errors.New("another server has this folder: end it first, or choose another folder with --dir")

// New opens the cache in c.Dir for serving. Only one server may have a folder;
// programs that use the cache in their own process may go on doing so.
func New(ctx context.Context, c Config) (_ *Server, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("serve cache %s: %w", c.Dir, err)
		}
	}()
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Cache.Quota = c.Quota
	own := filepath.Join(c.Dir, "serve")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, err
	}
	s := &Server{Config: c, spaces: map[string]*space{}, uploads: map[string]*upload{}, started: c.Now(), fresh: make(chan fresh, maxAhead)}
	if s.lock, err = lockFolder(filepath.Join(own, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	s.revoked = revoke.Open(c.Dir)
	if s.tokens, err = OpenTokens(c.Dir, c.Tokens); err != nil {
		return nil, err
	}
	// What a server that was killed left is of no use: its clients have been
	// told nothing.
	if err := errors.Join(os.RemoveAll(s.uploadDir()), os.MkdirAll(s.uploadDir(), 0o700)); err != nil {
		return nil, err
	}
	s.ctx, s.end = context.WithCancel(context.WithoutCancel(ctx))
	if s.derived, err = openDerived(s.ctx, filepath.Join(own, "derived")); err != nil {
		return nil, err
	}
	s.leases = newLeases(c.Now)
	if _, err := s.space(ctx, wire.Shared); err != nil {
		return nil, err
	}
	s.group.Go(s.sweepAlways)
	s.group.Go(s.prepareAlways)
	return s, nil
}

func lockFolder(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrServed
		}
		return nil, err
	}
	return f, nil
}

func (s *Server) uploadDir() string { return filepath.Join(s.Dir, "serve", "uploads") }

// Close ends the server. Requests that go on must have ended, or fail.
func (s *Server) Close() error {
	s.end()
	s.group.Wait()
	s.derived.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, u := range s.uploads {
		errs = append(errs, u.drop())
	}
	clear(s.uploads)
	for _, p := range s.spaces {
		p.release()
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// space is one namespace: a cache of its own.
type space struct {
	*cache.Cache
	name string

	mu    sync.Mutex
	loose map[ore.Digest]loose // guarded by mu; blobs that no image has yet
}

// loose is a blob that was uploaded, and for which an image is still to come.
type loose struct {
	since time.Time
	room  *cache.Reservation
}

// loose notes a blob that was uploaded.
func (s *Server) loose(p *space, u *upload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x, ok := p.loose[u.digest]; ok {
		x.room.Release() // two clients sent the same
	}
	p.loose[u.digest] = loose{s.Now(), u.room}
}

// listed notes that an image has come.
func (p *space) listed(m image.Manifest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range m.Layers {
		if x, ok := p.loose[l.Digest]; ok {
			x.room.Release()
			delete(p.loose, l.Digest)
		}
	}
}

// tidy removes blobs for which no image came.
func (p *space) tidy(before time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d, x := range p.loose {
		if held, err := p.Held(d); err != nil || held || x.since.After(before) {
			continue
		}
		if p.Remove(d) == nil {
			x.room.Release()
			delete(p.loose, d)
		}
	}
}

// release gives the room of loose blobs back.
func (p *space) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.loose {
		x.room.Release()
	}
}

// collect removes the blobs that no image has: what a server that was killed
// left. In the shared namespace others build, too, and so it is left alone.
func (p *space) collect(ctx context.Context) error {
	if p.name == wire.Shared {
		return nil
	}
	all, err := p.List(ctx)
	if err != nil {
		return err
	}
	blobs, err := p.Blobs()
	if err != nil {
		return err
	}
	for _, e := range all {
		m, err := p.Manifest(e.Manifest)
		if err != nil {
			return nil // Find takes it off the list; the next start is early enough
		}
		delete(blobs, e.Manifest)
		for _, l := range m.Layers {
			delete(blobs, l.Digest)
		}
	}
	for d := range blobs {
		if err := p.Remove(d); err != nil {
			return err
		}
	}
	return nil
}

// folderOf returns the folder of a namespace's cache in the one that is served.
func folderOf(dir, namespace string) string {
	if namespace == wire.Shared {
		return dir
	}
	return filepath.Join(dir, "namespaces", namespace)
}

// Namespaces returns the caches in a folder that is served, each namespace with
// its own folder.
func Namespaces(dir string) (map[string]string, error) {
	list, err := os.ReadDir(filepath.Join(dir, "namespaces"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := map[string]string{wire.Shared: dir}
	for _, e := range list {
		all[e.Name()] = folderOf(dir, e.Name())
	}
	return all, nil
}

// space opens a namespace at its first use.
func (s *Server) space(ctx context.Context, name string) (*space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.spaces[name]; p != nil {
		return p, nil
	}
	dir := folderOf(s.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	c, err := s.Cache.Open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	p := &space{Cache: c, name: name, loose: map[ore.Digest]loose{}}
	if err := p.collect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open namespace %s: %w", name, err), c.Close())
	}
	s.spaces[name] = p
	return p, nil
}

// readable returns the namespaces that the client sees, its own first.
func (s *Server) readable(ctx context.Context, i Identity) ([]*space, error) {
	own, err := s.space(ctx, i.Namespace)
	if err != nil || i.Namespace == wire.Shared {
		return []*space{own}, err
	}
	shared, err := s.space(ctx, wire.Shared)
	return []*space{own, shared}, err
}

// sweepAlways removes what clients left.
func (s *Server) sweepAlways() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
			s.Sweep()
		}
	}
}

// Sweep ends uploads that stood still for too long and leases whose builder is
// gone. A running server does it by itself now and then.
func (s *Server) Sweep() {
	now := s.Now()
	s.mu.Lock()
	for id, u := range s.uploads {
		if now.Sub(u.touched()) > uploadIdle && u.busy.TryLock() {
			delete(s.uploads, id)
			_ = u.drop() // it is in a folder that the next start empties
			u.busy.Unlock()
		}
	}
	for _, p := range s.spaces {
		p.tidy(now.Add(-uploadIdle))
	}
	s.mu.Unlock()
	s.leases.sweep()
}
