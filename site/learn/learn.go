// Package learn keeps what a site has learned in its state folder: rates.json
// holds the rates, runs.jsonl one run a line, predicted and actual, the oldest
// first, at most [hindsight.MaxRuns] and a tenth. A damaged file counts as none,
// since all of it is learned again; a line cut short is left out. Several
// processes may learn at once.
package learn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/plan"
	"ore/plan/hindsight"
	"ore/site/ledger"
)

// Memory is what a site has learned.
type Memory struct {
	Dir string
}

// RatesPath names the file of the rates.
func (m Memory) RatesPath() string { return filepath.Join(m.Dir, "rates.json") }

// RunsPath names the file of the runs.
func (m Memory) RunsPath() string { return filepath.Join(m.Dir, "runs.jsonl") }

// Rates returns what was learned, nothing if there is none.
func (m Memory) Rates() plan.Rates {
	var r plan.Rates
	b, err := os.ReadFile(m.RatesPath())
	if err != nil || json.Unmarshal(b, &r) != nil || r.Version != plan.RatesVersion {
		return plan.Rates{}
	}
	return r
}

// Runs returns the runs that are kept, the oldest first.
func (m Memory) Runs() ([]hindsight.Run, error) {
	b, err := os.ReadFile(m.RunsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	var all []hindsight.Run
	for line := range bytes.Lines(b) {
		var r hindsight.Run
		if json.Unmarshal(line, &r) == nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// Change changes the rates and keeps a run if it is not nil, one process at a
// time.
func (m Memory) Change(run *hindsight.Run, change func(plan.Rates) plan.Rates) (err error) {
	lock, err := os.OpenFile(filepath.Join(m.Dir, "rates.lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("learn: lock %s: %w", lock.Name(), err)
	}
	b, err := json.Marshal(change(m.Rates()))
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	if err := ledger.WriteWhole(m.RatesPath(), b); err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	if run == nil {
		return nil
	}
	return m.keep(*run)
}

// keep adds a run to those that are kept.
func (m Memory) keep(r hindsight.Run) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep run: %w", err)
	}
	line = append(line, '\n')
	old, err := os.ReadFile(m.RunsPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep run: %w", err)
	}
	if n := len(old); n > 0 && old[n-1] != '\n' { // a writer was killed
		line = append([]byte{'\n'}, line...)
	}
	lines := bytes.SplitAfter(old, []byte("\n"))
	// All is written anew only once in a while.
	if len(lines) > hindsight.MaxRuns+hindsight.MaxRuns/10 {
		return ledger.WriteWhole(m.RunsPath(), append(bytes.Join(lines[len(lines)-hindsight.MaxRuns:], nil), line...))
	}
	f, err := os.OpenFile(m.RunsPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("keep run: %w", err)
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// Watch watches one job and teaches the rates what it showed.
type Watch struct {
	Memory Memory
	Find   func(context.Context, ore.Key) (image.Manifest, error) // of images that were made; may be nil
	parts  hindsight.Recorder
	read   atomic.Int64 // when the load was read last, in nanoseconds
	then   atomic.Pointer[cpu]
}

// loadEvery is how far readings of the load are apart at least.
const loadEvery = 20 * time.Millisecond

// Through returns a watcher that learns from events and passes them on.
func (l *Watch) Through(w ore.Watcher) ore.Watcher {
	return func(e ore.Event) {
		now := time.Now()
		l.parts.Take(now, e)
		if last := l.read.Load(); now.UnixNano()-last > int64(loadEvery) && l.read.CompareAndSwap(last, now.UnixNano()) {
			if threads, ok := l.threads(); ok {
				l.parts.Load(now, threads)
			}
		}
		w.Tell(e)
	}
}

// threads returns how many threads have wanted a core since it was asked last, ours
// among them: as many as had one, if not all cores were busy, else as many as want one
// now, but for the one that asks.
func (l *Watch) threads() (float64, bool) {
	now := readCPU()
	then := l.then.Swap(&now)
	if then != nil {
		if share, ok := now.since(*then).share(); ok && share < 1 {
			return share * float64(runtime.NumCPU()), true
		}
	}
	_, running, ok := readLoad()
	return max(0, running-1), ok
}

// share returns how many bytes the layers had that the plan's way made, for each
// byte of its packages; 0 if that is not known.
func (l *Watch) share(p plan.Plan) float64 {
	c := p.Chosen()
	if l.Find == nil || c.Way != plan.Clean || len(c.Install) == 0 {
		return 0
	}
	m, err := l.Find(context.Background(), p.Key)
	if err != nil {
		return 0
	}
	var debs int64
	for _, pkg := range c.Install {
		debs += pkg.Size
	}
	return float64(m.Size()) / float64(max(1, debs))
}

// Learn takes a job that finished into the rates and the runs. What cannot be
// kept is lost: a job does not fail for it.
func (l *Watch) Learn(t ore.Timeline, p plan.Plan) {
	if len(p.Options) == 0 {
		return
	}
	o := l.parts.Outcome(p, t)
	// Where a way was given up for another, nothing is learned of its stages, but
	// that the prediction was wrong is kept.
	if len(o.Measured) == 0 && (o.Whole == 0 || p.Chosen().Way == plan.Exact) {
		return
	}
	layer := l.share(p)
	run := hindsight.NewRun(time.Now(), p, o)
	_ = l.Memory.Change(&run, func(r plan.Rates) plan.Rates {
		return r.Asked(p.Links).Learn(o.Measured...).Accustom(o.Parts, o.Kinds).Remember(o.Parts, layer).Aim(p.Chosen(), o.Whole)
	})
}
