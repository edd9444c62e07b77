package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// sample is one raw row: one thing measured once.
type sample struct {
	Contestant string
	Round      int
	Value      float64
	Unit       string // "s", "ms" or "MB"
	At         time.Time
	Load       float64            // of the last minute, before
	CPU        float64            `json:",omitempty"` // seconds of the program and of what it waited for
	Others     float64            `json:",omitempty"` // seconds of CPU that others used meanwhile
	Stages     map[string]float64 `json:",omitempty"` // seconds, as the program itself reports them
	Note       string             `json:",omitempty"`
}

// record keeps samples, and writes each down at once: the raw rows are there
// even if the benchmark ends early.
type record struct {
	facts   facts
	base    string // path without suffix
	file    *os.File
	samples []sample
}

func newRecord(dir string, f facts) (*record, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	r := &record{facts: f, base: filepath.Join(dir, f.Begun.UTC().Format("2006-01-02-150405"))}
	var err error
	if r.file, err = os.Create(r.base + ".jsonl"); err != nil {
		return nil, err
	}
	return r, json.NewEncoder(r.file).Encode(struct{ Host facts }{f})
}

func (r *record) close() error { return r.file.Close() }

// add writes a sample down.
func (r *record) add(s sample) error {
	s.Round++ // people count from one
	r.samples = append(r.samples, s)
	fmt.Fprintf(os.Stderr, "round %d  %-22s %9.3f %-2s  load %.1f, others %.1f s  %s\n", s.Round, s.Contestant, s.Value, s.Unit, s.Load, s.Others, s.Note)
	return json.NewEncoder(r.file).Encode(s)
}

// values are those of one contestant.
func (r *record) values(name string) []float64 {
	var all []float64
	for _, s := range r.samples {
		if s.Contestant == name {
			all = append(all, s.Value)
		}
	}
	return all
}

// clock times something together with what else the machine did.
type clock struct {
	sample sample
	busy   time.Duration
	begun  time.Time
}

func startClock(name string, round int) *clock {
	return &clock{sample: sample{Contestant: name, Round: round, Unit: "s", At: time.Now(), Load: load()}, busy: busy(), begun: time.Now()}
}

// stop gives the sample; cpu is what the thing itself used.
func (c *clock) stop(cpu time.Duration) sample {
	took := time.Since(c.begun)
	c.sample.Value = took.Seconds()
	c.sample.CPU = cpu.Seconds()
	c.sample.Others = max(0, (busy() - c.busy - cpu).Seconds())
	return c.sample
}
