package flight

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"ore"
)

// maxProgress bounds the progress file of one build, in bytes: some ten
// thousand events. What a builder tells beyond it is told to its own caller only.
const maxProgress = 1 << 20

// progress is the file beside a lock in which the builder writes what it tells:
// one event a line, in JSON. It goes when the build is over, and another begins
// when the builder died. Those who wait read it now and then.
type progress struct {
	path  string
	watch ore.Watcher

	reading *os.File // of the builder that is waited for
	rest    []byte   // the beginning of a line

	mu      sync.Mutex // guards what follows
	writing *os.File   // nil when there is no more to be written
	written int
}

// wait takes the turn, telling what the builder tells meanwhile.
func (p *progress) wait(ctx context.Context, turn chan struct{}) error {
	select {
	case turn <- struct{}{}:
		return nil
	default:
	}
	tick := time.NewTicker(lastPause)
	defer tick.Stop()
	for {
		select {
		case turn <- struct{}{}:
			return nil
		case <-ctx.Done():
			p.close()
			return ctx.Err()
		case <-tick.C:
			p.look()
		}
	}
}

// look tells what came since the last look. Progress is for people: what cannot
// be read is left out.
func (p *progress) look() {
	if p.watch == nil {
		return
	}
	if p.reading != nil && !current(p.reading, p.path) {
		p.drain()
		p.close() // the build is over, or another has begun
	}
	if p.reading == nil {
		f, err := os.Open(p.path)
		if err != nil {
			return
		}
		p.reading = f
	}
	p.drain()
}

func (p *progress) drain() {
	b, err := io.ReadAll(io.LimitReader(p.reading, maxProgress))
	if err != nil {
		return
	}
	p.rest = append(p.rest, b...)
	for {
		line, rest, whole := bytes.Cut(p.rest, []byte("\n"))
		if !whole {
			return
		}
		p.rest = rest
		var e ore.Event
		if json.Unmarshal(line, &e) == nil {
			p.watch.Tell(e)
		}
	}
}

func (p *progress) close() {
	if p.reading != nil {
		p.reading.Close()
	}
	p.reading, p.rest = nil, nil
}

// begin starts the file of a build, in place of that of a builder who died.
func (p *progress) begin() error {
	p.close()
	if err := os.Remove(p.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = f
	return nil
}

// tell tells the builder's own caller and writes the event down for the others.
func (p *progress) tell(e ore.Event) {
	p.watch.Tell(e)
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing == nil || p.written+len(line)+1 > maxProgress {
		return
	}
	n, err := p.writing.Write(append(line, '\n'))
	p.written += n
	if err != nil { // such as a full disk: the build itself may still end well
		p.writing.Close()
		p.writing = nil
	}
}

// end removes the file.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writing != nil {
		p.writing.Close()
	}
	p.writing = nil
	_ = os.Remove(p.path)
}
