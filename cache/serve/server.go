package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ore/cache"
	"ore/cache/serve/wire"
	"ore/image"
)

// Config is what a server is made of.
type Config struct {
	Dir   string
	Quota int64 // bytes of blobs of each namespace; 0 means no limit

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
	lock    *os.File
	derived *derived
	leases  *leases
	served  atomic.Int64
	started time.Time

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
	own := filepath.Join(c.Dir, "serve")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, err
	}
	s := &Server{Config: c, spaces: map[string]*space{}, uploads: map[string]*upload{}, started: c.Now()}
	if s.lock, err = lockFolder(filepath.Join(own, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if s.tokens, err = OpenTokens(c.Dir); err != nil {
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
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// space is one namespace: a cache of its own.
type space struct {
	*cache.Cache
	name string
	room sync.Mutex // held while room is made and reserved
}

// space opens a namespace at its first use.
func (s *Server) space(ctx context.Context, name string) (*space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.spaces[name]; p != nil {
		return p, nil
	}
	dir := s.Dir
	if name != wire.Shared {
		dir = filepath.Join(dir, "namespaces", name)
	}
	if err := os.MkdirAll(filepath.Join(dir, "signatures"), 0o755); err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	c, err := s.Cache.Open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", name, err)
	}
	p := &space{Cache: c, name: name}
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
	s.mu.Unlock()
	s.leases.sweep()
}
