package site

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
)

// What a site has learned is in its state folder: rates.json holds the rates,
// runs.jsonl one run a line, predicted and actual, the oldest first. A damaged
// file counts as none, since all of it is learned again.

func (s *Site) ratesPath() string { return filepath.Join(s.Dirs.State, "rates.json") }
func (s *Site) runsPath() string  { return filepath.Join(s.Dirs.State, "runs.jsonl") }

// Rates returns what this site has learned; nothing if it has not run a job.
func (s *Site) Rates() plan.Rates {
	var r plan.Rates
	b, err := os.ReadFile(s.ratesPath())
	if err != nil || json.Unmarshal(b, &r) != nil || r.Version != plan.RatesVersion {
		return plan.Rates{}
	}
	return r
}

// Runs returns the runs that are kept, the oldest first.
func (s *Site) Runs() ([]hindsight.Run, error) {
	b, err := os.ReadFile(s.runsPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	var all []hindsight.Run
	for line := range bytes.Lines(b) {
		var r hindsight.Run
		if json.Unmarshal(line, &r) == nil { // a line cut short is left out
			all = append(all, r)
		}
	}
	return all, nil
}

// Calibrated takes a calibration of this host into the rates.
func (s *Site) Calibrated(c plan.Calibration) error {
	return s.relearn(func(r plan.Rates) plan.Rates { return r.Calibrate(plan.Here, c) })
}

// relearn changes the rates, one process at a time.
func (s *Site) relearn(change func(plan.Rates) plan.Rates) (err error) {
	lock, err := os.OpenFile(filepath.Join(s.Dirs.State, "rates.lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("learn: lock %s: %w", lock.Name(), err)
	}
	b, err := json.Marshal(change(s.Rates()))
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	return writeWhole(s.ratesPath(), b)
}

// keepRun adds a run to those that are kept. It is called within relearn.
func (s *Site) keepRun(r hindsight.Run) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(s.runsPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := bytes.SplitAfter(old, []byte("\n"))
	if n := len(lines); n > 0 && len(lines[n-1]) == 0 {
		lines = lines[:n-1]
	}
	// All is written anew only once in a while: a tenth may be too much.
	if len(lines) < hindsight.MaxRuns+hindsight.MaxRuns/10 {
		f, err := os.OpenFile(s.runsPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(append(line, '\n'))
		return errors.Join(err, f.Close())
	}
	kept := bytes.Join(lines[len(lines)-hindsight.MaxRuns+1:], nil)
	return writeWhole(s.runsPath(), append(append(kept, line...), '\n'))
}

// learner watches one job and teaches the rates what it showed.
type learner struct {
	site  *Site
	parts hindsight.Recorder
	read  atomic.Int64 // when the load was read last, in nanoseconds
}

// loadEvery is how far readings of the load are apart at least.
const loadEvery = 20 * time.Millisecond

// watching returns a watcher that learns from events and passes them on.
func (l *learner) watching(w ore.Watcher) ore.Watcher {
	return func(e ore.Event) {
		now := time.Now()
		l.parts.Take(now, e)
		if last := l.read.Load(); now.UnixNano()-last > int64(loadEvery) && l.read.CompareAndSwap(last, now.UnixNano()) {
			if _, running, ok := readLoad(); ok {
				l.parts.Load(now, running)
			}
		}
		w.Tell(e)
	}
}

// learn takes a job that finished into the rates and the runs. What cannot be
// kept is lost: a job does not fail for it.
func (l *learner) learn(t ore.Timeline, p plan.Plan) {
	if len(p.Options) == 0 {
		return
	}
	o := l.parts.Outcome(p, t)
	if len(o.Measured) == 0 {
		return
	}
	layer := l.site.layerShare(p)
	_ = l.site.relearn(func(r plan.Rates) plan.Rates {
		_ = l.site.keepRun(hindsight.NewRun(time.Now(), p, o))
		return r.Learn(o.Measured...).Remember(o.Parts, layer)
	})
}

// learned makes an image by a plan and learns from it.
func (s *Site) learned(p plan.Plan, watch ore.Watcher, do func(ore.Watcher) (image.Manifest, error)) (image.Manifest, error) {
	l := &learner{site: s}
	begun := time.Now()
	m, err := do(l.watching(watch))
	if err == nil {
		l.learn(ore.Timeline{{Name: "image", Start: begun, End: time.Now()}}, p)
	}
	return m, err
}

// Plan says what running j would do, if things were as w has them.
func (s *Site) Plan(ctx context.Context, j ore.Job, w plan.WhatIf) (ore.Environment, plan.Plan, error) {
	m := &images{site: s}
	env, err := m.Lock(ctx, j.Wants, nil)
	if err != nil {
		return env, plan.Plan{}, err
	}
	have, err := m.Have(ctx, env)
	if err != nil {
		return env, plan.Plan{}, err
	}
	ask := s.ask(j.Machines.Hypervisor)
	ask.Environment, ask.Machines = env, j.Machines.Count
	return env, plan.Choose(w.Apply(ask, have, s.Rates())), nil
}

// Accuracy says how good the predictions of the runs that are kept were.
func (s *Site) Accuracy() (hindsight.Accuracy, error) {
	runs, err := s.Runs()
	return hindsight.Judge(runs, s.Rates()), err
}

// layerShare returns how many bytes the layers had that the plan's way made, for
// each byte of its packages; 0 if that is not known.
func (s *Site) layerShare(p plan.Plan) float64 {
	c := p.Chosen()
	if c.Way != plan.Clean || len(c.Install) == 0 {
		return 0
	}
	m, err := s.Cache.Find(context.Background(), p.Key)
	if err != nil {
		return 0
	}
	var debs int64
	for _, pkg := range c.Install {
		debs += pkg.Size
	}
	return float64(m.Size()) / float64(max(1, debs))
}

// ask returns what the plan of a job has to know of this host.
func (s *Site) ask(starts ...string) plan.Ask {
	return plan.Ask{
		Locked: s.Pinned != nil, Starts: starts,
		Hosts: []plan.Host{{Name: plan.Here, Cores: runtime.NumCPU(), Load: othersLoad()}},
	}
}

// othersLoad returns how many threads of others want a core. Of the mean of the
// last minute and what runs at this instant it takes the less: the one still
// counts what has ended, the other what only looks up.
func othersLoad() float64 {
	mean, running, ok := readLoad()
	if !ok {
		return 0
	}
	return max(0, min(mean, running-1)) // one of them is this thread
}

// readLoad returns the load average of the last minute and how many threads
// want a core at this instant (proc(5), loadavg).
func readLoad() (mean, running float64, ok bool) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0, false
	}
	var n int
	if _, err := fmt.Sscanf(string(b), "%f %f %f %d/", &mean, new(float64), new(float64), &n); err != nil {
		return 0, 0, false
	}
	return mean, float64(n), true
}
