package proxy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
)

const (
	// maxKnown bounds what locks tell of: some hundred locks without anything in
	// common.
	maxKnown = 1 << 18
	// maxIndexes is how many bytes of suites' indexes are kept; the packages are
	// the host's, and pruned as those are. A suite's indexes in all forms that
	// somebody may ask for are some hundred MB.
	maxIndexes = 1 << 30
)

// Config says what a proxy works with.
type Config struct {
	Dir    string        // for what is no package: suites' indexes
	Client *fetch.Client // nil means one of our own
	Watch  ore.Watcher   // hears of what could not be had
}

// Counts is what a proxy has done so far.
type Counts struct {
	Answers  int64 // that had a file in them, whole or in part
	Kept     int64 // files that were on this host already
	Fetched  int64 // files that came over the uplink
	Uplink   int64 // bytes of them
	Failures int64 // fetches that came to nothing
}

// Proxy is an http.Handler. It is safe for concurrent use.
type Proxy struct {
	config Config
	client *fetch.Client
	own    bool // the client is ours to close
	ctx    context.Context
	cancel context.CancelFunc
	all    sync.WaitGroup
	up     chan struct{} // fetches that run
	room   chan struct{} // answers that run
	begun  time.Time
	moved  atomic.Int64 // when a flight last got further, in ns since begun

	mu      sync.Mutex // guards what follows
	known   map[ore.Digest]fetch.File
	flights map[ore.Digest]*flight
	proved  map[ore.Digest]bool // files on the disk that this proxy has hashed
	counts  Counts
	closed  bool

	offer   sync.RWMutex // guards what follows
	archive *deb.Archive
	suites  []suite
}

// New returns a proxy that knows of nothing.
func New(c Config) (*Proxy, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("package proxy: %w", err)
	}
	p := &Proxy{config: c, client: c.Client, known: map[ore.Digest]fetch.File{}, flights: map[ore.Digest]*flight{}, proved: map[ore.Digest]bool{},
		up: make(chan struct{}, fetch.Parallel), room: make(chan struct{}, maxAnswers), begun: time.Now()}
	if p.client == nil {
		p.client, p.own = fetch.New(), true
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Close ends all fetches, waits for them, and lets go of the archive. Whoever is
// still reading is cut off; the caller ends the server that the proxy is in.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.all.Wait()
	if p.own {
		p.client.CloseIdle()
	}
	return p.take(nil, nil)
}

// Counts returns what was done so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

func (p *Proxy) count(f func(*Counts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.counts)
}

// Know lets files be asked for by digest; each is kept at its path.
func (p *Proxy) Know(files ...fetch.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range files {
		if f.Digest.Hex() == "" || f.Size <= 0 || f.Path == "" {
			return fmt.Errorf("package proxy: file %s: its digest, size or place is not valid", filepath.Base(f.Path))
		}
		if _, again := p.known[f.Digest]; !again && len(p.known) >= maxKnown {
			return fmt.Errorf("package proxy: it knows %d files, and no more can be known: start it anew", maxKnown)
		}
		p.known[f.Digest] = f
	}
	return nil
}

// Lock lets the packages of an environment be asked for, from where the offered
// archive says.
func (p *Proxy) Lock(env ore.Environment) error {
	p.offer.RLock()
	defer p.offer.RUnlock()
	if p.archive == nil {
		return errors.New("package proxy: no archive is offered to get packages from")
	}
	for _, q := range env.Packages {
		f, err := p.archive.File(q)
		if err == nil {
			err = p.Know(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Offer lets all be asked for that the archive's proved indexes have. The proxy
// takes the archive and closes it, when another one is offered or at its own end.
func (p *Proxy) Offer(a *deb.Archive) error {
	published, err := a.Published()
	if err != nil {
		return errors.Join(err, a.Close())
	}
	var suites []suite
	for _, s := range published {
		suites = append(suites, newSuite(s))
	}
	return p.take(a, suites)
}

func (p *Proxy) take(a *deb.Archive, suites []suite) error {
	p.offer.Lock()
	old := p.archive
	p.archive, p.suites = a, suites
	p.offer.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// byDigest returns what is known of a digest.
func (p *Proxy) byDigest(d ore.Digest) (fetch.File, bool) {
	p.mu.Lock()
	f, ok := p.known[d]
	p.mu.Unlock()
	if ok {
		return f, true
	}
	p.offer.RLock()
	defer p.offer.RUnlock()
	if p.archive == nil {
		return fetch.File{}, false
	}
	if q, ok := p.archive.Find(d); ok {
		return p.file(q)
	}
	return fetch.File{}, false
}

// byPath returns the package at a path of the base's archives.
func (p *Proxy) byPath(path string) (fetch.File, bool) {
	p.offer.RLock()
	defer p.offer.RUnlock()
	if p.archive == nil {
		return fetch.File{}, false
	}
	if q, ok := p.archive.At(path); ok {
		return p.file(q)
	}
	return fetch.File{}, false
}

// file is a package's of the offered archive; the caller holds offer. It is
// remembered, up to the bound: looking for a digest takes a while.
func (p *Proxy) file(q ore.Package) (fetch.File, bool) {
	f, err := p.archive.File(q)
	if err != nil {
		return fetch.File{}, false
	}
	return f, p.Know(f) == nil
}
