package plan

import (
	"strings"
	"sync"
	"time"

	"ore"
)

// maxParts bounds how many parts of one build a Recorder times.
const maxParts = 1 << 16

// Recorder times the parts of one build by what its watcher is told. Its
// methods may be called concurrently.
type Recorder struct {
	mu       sync.Mutex // guards what follows
	fetching time.Time  // the first byte
	fetched  time.Time
	phases   []phase
	sealing  time.Time // the last layer's begin
	sealed   time.Time // the end of the layer before
	current  string    // the package that is being configured
	since    time.Time
	parts    map[string]time.Duration
}

// phase is one time that dpkg configured packages.
type phase struct{ begun, ended time.Time }

// Take notes an event that happened at the given time.
func (r *Recorder) Take(at time.Time, e ore.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Machine != "" {
		return
	}
	switch e.Stage {
	case Fetch:
		if r.fetching.IsZero() {
			r.fetching = at
		}
		if e.Final {
			r.fetched = at
		}
	case Configure:
		if e.Final {
			r.endPhase(at)
			return
		}
		r.configure(at, e.Text)
	case Seal:
		if e.Final {
			r.sealed = at
			return
		}
		r.endPhase(at)
		r.sealing = at
	}
}

// configure notes that dpkg has come to another package, as in
// "libc6:amd64 (2.36-9) ...".
func (r *Recorder) configure(at time.Time, text string) {
	name, _, _ := strings.Cut(text, " ")
	name, _, _ = strings.Cut(name, ":")
	if name == "" {
		return
	}
	if r.current == "" {
		r.phases = append(r.phases, phase{begun: at})
	}
	r.endPart(at)
	r.current, r.since = packageName(name), at
}

func (r *Recorder) endPart(at time.Time) {
	if r.current == "" || len(r.parts) >= maxParts {
		return
	}
	if r.parts == nil {
		r.parts = map[string]time.Duration{}
	}
	r.parts[r.current] += at.Sub(r.since)
}

func (r *Recorder) endPhase(at time.Time) {
	if r.current == "" {
		return
	}
	r.endPart(at)
	r.current = ""
	r.phases[len(r.phases)-1].ended = at
}

// Outcome is what one job showed.
type Outcome struct {
	Measured []Measurement
	Parts    map[string]time.Duration // for Rates.Remember
	Actual   map[string]float64       // seconds of each stage that was timed
	Whole    float64                  // seconds of all that the plan predicts; 0 when not all was timed
}

// Outcome compares what was recorded, and the timeline of the job, with the
// option that p chose.
func (r *Recorder) Outcome(p Plan, t ore.Timeline) Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := Outcome{Parts: r.parts, Actual: map[string]float64{}}
	if len(p.Options) == 0 {
		return o
	}
	c := p.Chosen()
	img, made := stage(t, "image")
	if made && !c.Each {
		o.Whole = img.End.Sub(img.Start).Seconds()
		r.build(&o, c, img)
	}
	boots, booted := bootSpan(t)
	for _, e := range c.Stages {
		if e.Stage != Start {
			continue
		}
		if !booted {
			o.Whole = 0
			break
		}
		o.take(e, boots)
		o.Whole += boots.Seconds()
	}
	return o
}

// build times the stages of making the image.
func (r *Recorder) build(o *Outcome, c Option, img ore.Stage) {
	begun, phases, stepped := img.Start, r.phases, false
	for _, e := range c.Stages {
		switch e.Stage {
		case Fetch:
			if r.fetched.After(r.fetching) {
				o.take(e, r.fetched.Sub(r.fetching))
			}
		case Unpack:
			if !r.fetched.IsZero() {
				begun = r.fetched
			}
			if len(r.phases) > 0 {
				o.take(e, r.phases[0].begun.Sub(begun))
			}
		case Configure:
			if len(phases) == 0 || phases[0].ended.IsZero() {
				continue
			}
			begun = phases[0].ended
			o.take(e, phases[0].ended.Sub(phases[0].begun))
			phases = phases[1:]
		case Steps:
			stepped = true
			if begun = r.sealed; r.sealing.After(r.sealed) && !r.sealed.IsZero() {
				o.take(e, r.sealing.Sub(r.sealed))
			}
		}
	}
	for _, e := range c.Stages {
		if e.Stage == Seal && !stepped && len(r.phases) > 0 && len(phases) == 0 && img.End.After(begun) {
			o.take(e, img.End.Sub(begun))
		}
	}
}

// take notes that a stage took d. Its first branch is what was timed: what runs
// beside it is timed by other stages.
func (o *Outcome) take(e Estimate, d time.Duration) {
	o.Actual[e.Stage] += d.Seconds()
	if len(e.Branches) == 0 || len(e.Branches[0]) == 0 {
		return
	}
	t := e.Branches[0][0]
	o.Measured = append(o.Measured, Measurement{Law: t.Law, Amounts: t.Amounts, Took: d})
}

func stage(t ore.Timeline, name string) (ore.Stage, bool) {
	for _, s := range t {
		if s.Name == name && s.Machine == "" && s.Note != "failed" {
			return s, true
		}
	}
	return ore.Stage{}, false
}

// bootSpan is the time in which machines started: what a job's inputs take to
// reach them is not the machines'.
func bootSpan(t ore.Timeline) (time.Duration, bool) {
	s, ok := stage(t, "start")
	if !ok {
		return 0, false
	}
	last := s.Start
	for _, b := range t {
		if b.Name == "boot" && b.End.After(last) && !b.End.After(s.End) {
			last = b.End
		}
	}
	return last.Sub(s.Start), last.After(s.Start)
}
