package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/deb/fetch"
)

// errClosed is an answer of a proxy that is gone.
var errClosed = errors.New("the proxy has ended")

// errBusy is an answer to who does not want to wait any longer.
var errBusy = errors.New("others are served first: come again")

// stuck is how long nothing moves before it is no longer said that it will: a flight
// that gets nothing has ended by then, with what it said to its tries.
const stuck = 3 * time.Minute

// flight is one file on its way to all who asked for it.
type flight struct {
	file fetch.File

	mu      sync.Mutex // guards what follows
	now     progress
	changed chan struct{} // closed when now is another
}

// progress is how far a flight is.
type progress struct {
	have int64 // bytes in the part
	turn int   // how often the part was begun again
	done bool  // it has ended: the file is whole and proved, or err
	err  error
}

// state returns how far the flight is, and what is closed when it is further.
func (f *flight) state() (progress, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, f.changed
}

// change lets all who wait look again.
func (f *flight) change(set func(*progress)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set(&f.now)
	close(f.changed)
	f.changed = make(chan struct{})
}

// advance is what fetch tells of: bytes that came, or a part that is begun again.
func (f *flight) advance(n int64) {
	f.change(func(p *progress) {
		p.have += n
		if n < 0 {
			p.turn++
		}
	})
}

// join returns the flight of a file, which begins if need be.
func (p *Proxy) join(f fetch.File) (*flight, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	if old, ok := p.flights[f.Digest]; ok {
		return old, nil
	}
	n := &flight{file: f, changed: make(chan struct{})}
	p.flights[f.Digest] = n
	p.all.Go(func() {
		kept, err := p.fly(n)
		p.land(n, kept, err)
	})
	return n, nil
}

// fly brings the file here, unless a whole one is here already.
func (p *Proxy) fly(f *flight) (kept bool, err error) {
	if whole(f.file) {
		// The host's packages were proved when they came, which may be long ago.
		switch got, err := hash(f.file.Path); {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return false, err
		case got == f.file.Digest:
			return true, nil
		}
		if err := os.Remove(f.file.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	select {
	case p.up <- struct{}{}:
	case <-p.ctx.Done():
		return false, errClosed
	}
	defer func() { <-p.up }()
	if filepath.Dir(f.file.Path) == filepath.Clean(p.config.Dir) {
		p.tidy()
	}
	p.move()
	return false, p.client.File(p.ctx, f.file, func(n int64) {
		p.move()
		f.advance(n)
	})
}

// move notes that something has come or has ended: who waits has reason to.
func (p *Proxy) move() { p.moved.Store(int64(time.Since(p.begun))) }

// moves says whether that was so lately.
func (p *Proxy) moves() bool { return time.Since(p.begun)-time.Duration(p.moved.Load()) < stuck }

// land ends a flight.
func (p *Proxy) land(f *flight, kept bool, err error) {
	p.move()
	if p.ctx.Err() != nil && err != nil {
		err = errClosed
	}
	p.mu.Lock()
	delete(p.flights, f.file.Digest)
	switch {
	case err != nil:
		p.counts.Failures++
	case kept:
		p.counts.Kept++
	default:
		p.counts.Fetched++
		p.counts.Uplink += f.file.Size
	}
	if err == nil {
		p.proved[f.file.Digest] = true
	}
	p.mu.Unlock()
	f.change(func(s *progress) { s.done, s.err = true, err })
	if err != nil && !errors.Is(err, errClosed) {
		p.config.Watch.Tell(ore.Event{Stage: "proxy", Text: strings.TrimSpace(err.Error())})
	}
}

// open returns the file, which may still be coming. It returns when there is
// something of it, so that what cannot be had at all has an error for its answer, and
// with errBusy if that takes longer than wait while other files come. A wait of 0 has
// no end.
func (p *Proxy) open(ctx context.Context, f fetch.File, wait time.Duration) (io.ReadSeekCloser, error) {
	p.mu.Lock()
	proved := p.proved[f.Digest]
	p.mu.Unlock()
	if proved && whole(f) {
		return os.Open(f.Path)
	}
	n, err := p.join(f)
	if err != nil {
		return nil, err
	}
	var late <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		late = t.C
	}
	for {
		s, changed := n.state()
		switch {
		case s.err != nil:
			return nil, s.err
		case s.done:
			return os.Open(n.file.Path)
		case s.have > 0:
			return &follower{ctx: ctx, flight: n, turn: s.turn}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late:
			if p.moves() {
				return nil, errBusy
			}
		case <-changed:
		}
	}
}

// whole says whether the file is there, by its size.
func whole(f fetch.File) bool {
	i, err := os.Stat(f.Path)
	return err == nil && i.Size() == f.Size
}

func hash(path string) (ore.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return ore.NewDigest([sha256.Size]byte(h.Sum(nil))), nil
}
