package chain

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"ore/chain/leisure"
	"ore/chain/turn"
)

const (
	// maxConnections bounds what strangers can hold of a peer: descriptors and
	// goroutines. A star of 256 receivers with four stripes fits.
	maxConnections = 1024
	// orphanTimeout is how long a peer goes on with what it was told after its
	// conductor was lost: long enough for one that is started again.
	orphanTimeout = time.Minute
)

// Config is what a peer needs.
type Config struct {
	// Dir holds partial blobs and whole ones, each called by its digest.
	Dir string
	// Listener is where others reach this peer. The peer closes it.
	Listener net.Listener
	// TLS, where set, goes under incoming connections. It must ask for the other
	// side's certificate and check it.
	TLS *tls.Config
	// Dialer is for connections to sources.
	Dialer Dialer
	// Fill, where set, may write chunks that the host holds elsewhere into a new
	// partial file. Its bytes are verified afterwards like all others.
	Fill func(ctx context.Context, b Blob, l List, f *os.File) error
	// Busy, where set, says whether this host's cores have other work to do. Then, and
	// while somebody reads here, a blob that is being read comes in slowly, once all is
	// here that goes first: who reads it waits for cores, and not for what he has not
	// asked for.
	Busy func() bool
	// Silence is after which time without a sign a source is held to be lost;
	// zero means DefaultSilence.
	Silence time.Duration
	// Log may be nil.
	Log *slog.Logger
}

func (c Config) silence() time.Duration {
	if c.Silence > 0 {
		return c.Silence
	}
	return DefaultSilence
}

// Peer is one host's part: it serves what it holds, also while that still
// comes in, and fetches what a conductor tells it to. It decides nothing.
type Peer struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wait   sync.WaitGroup
	slots  chan struct{}
	turns  turn.Turns
	taken  atomic.Int64 // bytes of chunks that came

	leisure *leisure.Host // nil where Busy is

	mu       sync.Mutex // guards those below
	grants   map[GrantID]granted
	blobs    map[Digest]*partial
	watchers map[chan struct{}]bool
	orphans  map[*time.Timer]bool
	closed   bool
}

// granted is a grant that holds until it is revoked.
type granted struct {
	Grant
	ctx    context.Context
	revoke context.CancelFunc
}

// Start makes a peer that serves until Close.
func Start(ctx context.Context, cfg Config) (*Peer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start peer: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &Peer{
		cfg: cfg, ctx: ctx, cancel: cancel, leisure: leisure.New(cfg.Busy), slots: make(chan struct{}, maxConnections),
		grants: map[GrantID]granted{}, blobs: map[Digest]*partial{},
		watchers: map[chan struct{}]bool{}, orphans: map[*time.Timer]bool{},
	}
	p.wait.Add(1)
	go func() {
		defer p.wait.Done()
		p.listen()
	}()
	return p, nil
}

// Addr is where the peer listens.
func (p *Peer) Addr() net.Addr { return p.cfg.Listener.Addr() }

// Close ends all connections and waits for all that the peer started. Partial
// blobs stay for the next life.
func (p *Peer) Close() error {
	p.cancel()
	err := p.cfg.Listener.Close()
	p.mu.Lock()
	p.closed = true
	for t := range p.orphans {
		t.Stop()
	}
	all := p.blobs
	p.blobs = map[Digest]*partial{}
	p.mu.Unlock()
	p.wait.Wait() // no conductor is left that could begin something
	for _, b := range all {
		b.flows.stop()
		b.close()
	}
	return err
}

// Allow makes the peer accept the holder of g.
func (p *Peer) Allow(g Grant) {
	ctx, cancel := context.WithCancel(p.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.grants[g.ID]; ok {
		cancel()
		old.Grant = g
		p.grants[g.ID] = old
		return
	}
	p.grants[g.ID] = granted{g, ctx, cancel}
}

// Revoke ends what Allow began, and the connections of who holds the grant.
func (p *Peer) Revoke(id GrantID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g, ok := p.grants[id]; ok {
		g.revoke()
		delete(p.grants, id)
	}
}

func (p *Peer) find(id GrantID) (Grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.grants[id]
	return g.Grant, ok
}

// whileGranted returns a context that ends when g is revoked.
func (p *Peer) whileGranted(ctx context.Context, g Grant) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	held, ok := p.grants[g.ID]
	if !ok {
		cancel()
		return ctx, cancel
	}
	stop := context.AfterFunc(held.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Add offers a whole file to those who hold a grant for it. The file must not
// change as long as the peer lives; that its bytes are right is checked by
// those who receive them.
func (p *Peer) Add(b Blob, l List, path string) error {
	if err := b.check(); err != nil {
		return err
	}
	n, err := local(b, l, path)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.blobs[b.Digest]; ok || p.closed {
		n.close()
		return nil
	}
	p.blobs[b.Digest] = n
	return nil
}

// Path says where a whole blob stands.
func (p *Peer) Path(d Digest) (string, bool) {
	b := p.blob(d)
	if b == nil {
		name := filepath.Join(p.cfg.Dir, d.String())
		_, err := os.Stat(name)
		return name, err == nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.path, b.whole
}

// Forget removes a blob, whole or not, from the peer's folder.
func (p *Peer) Forget(d Digest) error {
	if p.blob(d) != nil {
		return fmt.Errorf("forget blob %.12s: it is in use", d)
	}
	name := filepath.Join(p.cfg.Dir, d.String())
	var all error
	for _, suffix := range []string{"", partSuffix, listSuffix} {
		if err := os.Remove(name + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// Hand gives the file of a whole blob away: move may take it out of the peer's
// folder, where nothing of the blob is left then. Who reads the blob, or is sent it,
// goes on from the open file.
func (p *Peer) Hand(d Digest, move func(path string) error) error {
	path, whole := p.Path(d)
	if b := p.blob(d); !whole || b != nil && b.added {
		return fmt.Errorf("hand over blob %.12s: it did not come whole: send it again", d)
	}
	if err := move(path); err != nil {
		return err
	}
	if err := os.Remove(path + listSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("hand over blob %.12s: %w", d, err)
	}
	return nil
}

func (p *Peer) blob(d Digest) *partial {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blobs[d]
}

// listen accepts until the listener is closed.
func (p *Peer) listen() {
	for {
		c, err := p.cfg.Listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of descriptors, say: others will end
			case <-time.After(retryEvery):
				continue
			case <-p.ctx.Done():
				return
			}
		}
		select {
		case p.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		p.wait.Add(1)
		go func() {
			defer p.wait.Done()
			defer func() { <-p.slots }()
			p.greet(c)
		}()
	}
}

// greet finds out who is there and what they want.
func (p *Peer) greet(c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.Close() })() // deadlines are set anew all the time
	l, err := accept(secure(c, p.cfg.TLS, true), p.find)
	if err != nil {
		p.cfg.Log.Debug("connection refused", "from", c.RemoteAddr(), "cause", err)
		return
	}
	granted, end := p.whileGranted(ctx, l.grant)
	defer end()
	defer context.AfterFunc(granted, func() { c.Close() })()
	if err := l.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
		return
	}
	var first json.RawMessage
	if err := l.receive(&first); err != nil {
		p.cfg.Log.Debug("no request", "from", c.RemoteAddr(), "cause", err)
		return
	}
	if l.grant.Conduct {
		err = p.obey(granted, l, first)
	} else {
		var r request
		if err = json.Unmarshal(first, &r); err == nil {
			err = p.serve(granted, l, r)
		}
	}
	if err != nil {
		p.cfg.Log.Debug("connection ends", "from", c.RemoteAddr(), "cause", err)
	}
}

// poke wakes those who report to conductors.
func (p *Peer) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.watchers {
		select {
		case w <- struct{}{}:
		default: // it is awake already
		}
	}
}
