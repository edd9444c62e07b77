package hindsight

import (
	"slices"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/plan"
)

// maxParts bounds how many parts of one build a Recorder times.
const maxParts = 1 << 16

// Recorder times the parts of one build by what its watcher is told. Its
// methods may be called concurrently.
//
// Register lasts from a pull's end to the image's. The stages fetch, pull, restore, remove, steps, disk image, distribute and restart last from the
// first event with their name to the one that is Final; distribute to the last
// such one, if it goes on while machines run, and is not timed if it is cut short
// then. Configure begins anew with the first package after a layer was sealed; seal
// is told at a layer's begin and end.
type Recorder struct {
	mu       sync.Mutex // guards what follows
	sections map[string]phase
	phases   []phase
	sealing  time.Time // the last layer's begin
	sealed   time.Time // the end of the layer before
	current  string    // the package that is being configured
	since    time.Time
	gone     string // the package that is being removed
	goneAt   time.Time
	step     string // the step that runs
	stepAt   time.Time
	parts    int
	loads    []loaded
}

// maxLoads bounds how many readings of the load are kept.
const maxLoads = 1 << 12

// loaded is how many threads wanted a core at a time.
type loaded struct {
	at      time.Time
	threads float64
}

// phase is one time that something was done, such as dpkg configuring packages.
type phase struct {
	begun, ended time.Time
	parts        map[string]time.Duration // of it, by name
}

// Take notes an event that happened at the given time.
func (r *Recorder) Take(at time.Time, e ore.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Machine != "" {
		return
	}
	switch e.Stage {
	case plan.Fetch, plan.Pull, plan.Restore, plan.Remove, plan.Steps, plan.DiskImage, plan.Distribute, plan.Restart:
		if r.sections == nil {
			r.sections = map[string]phase{}
		}
		s, begun := r.sections[e.Stage]
		if !begun {
			s.begun = at
		}
		switch e.Stage {
		case plan.Remove:
			s.parts = r.removing(at, e, s.parts)
		case plan.Steps:
			s.parts = r.stepping(at, e, s.parts)
		}
		if e.Final {
			s.ended = at
		} else if e.Stage == plan.Distribute {
			s.ended = time.Time{} // it goes on, while machines run
		}
		r.sections[e.Stage] = s
	case plan.Configure:
		if e.Final {
			r.endPhase(at)
			return
		}
		r.configure(at, e.Text)
	case plan.Seal:
		if e.Final {
			r.sealed = at
			return
		}
		r.endPhase(at)
		r.sealing = at
	}
}

// Load notes how many threads wanted a core at the given time, our own among
// them. Readings should be some tens of milliseconds apart.
func (r *Recorder) Load(at time.Time, threads float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.loads) < maxLoads {
		r.loads = append(r.loads, loaded{at, threads})
	}
}

// fewLoads is from how many readings on a mean says more than the load at the
// time of the plan.
const fewLoads = 5

// others returns how many threads of others wanted a core while a term was
// worked on, and whether that is known.
func (r *Recorder) others(t plan.Term, begun time.Time, d time.Duration) (float64, bool) {
	var sum, n float64
	for _, l := range r.loads {
		if !l.at.Before(begun) && !l.at.After(begun.Add(d)) {
			sum += l.threads
			n++
		}
	}
	if n < fewLoads {
		return 0, false
	}
	return max(0, sum/n-float64(t.Threads*max(1, t.Copies))), true
}

// packageIn names the package in a line of dpkg's, as in "libc6:amd64 (2.36-9) ...".
// Other lines name none.
func packageIn(text string) string {
	name, rest, _ := strings.Cut(text, " ")
	if !strings.HasPrefix(rest, "(") {
		return ""
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

// removing notes that dpkg removes another package, or none any more, and returns
// what the ones before took.
func (r *Recorder) removing(at time.Time, e ore.Event, parts map[string]time.Duration) map[string]time.Duration {
	name := packageIn(e.Text)
	if name == "" && !e.Final {
		return parts // something that a script of the package says
	}
	if r.gone != "" && r.parts < maxParts {
		if parts == nil {
			parts = map[string]time.Duration{}
		}
		r.parts++
		parts[r.gone] += at.Sub(r.goneAt)
	}
	if r.gone, r.goneAt = "", at; name != "" {
		r.gone = plan.RemovalName(name)
	}
	return parts
}

// stepping notes that a step begins, or that there are none any more, and returns what
// the ones before took, by the steps' names. A step that was done before begins under a
// name that none has; what a step says has no numbers.
func (r *Recorder) stepping(at time.Time, e ore.Event, parts map[string]time.Duration) map[string]time.Duration {
	if e.Total == 0 && !e.Final {
		return parts
	}
	if r.step != "" && r.parts < maxParts {
		if parts == nil {
			parts = map[string]time.Duration{}
		}
		r.parts++
		parts[r.step] += at.Sub(r.stepAt)
	}
	if r.step, r.stepAt = "", at; !e.Final {
		r.step = e.Text
	}
	return parts
}

// ran returns what steps took, by the names by which rates know them.
func ran(steps []ore.Step, took map[string]time.Duration) map[string]time.Duration {
	known := map[string]time.Duration{}
	for _, s := range steps {
		if d, timed := took[s.Name]; timed {
			known[plan.StepName(s.Run)] = d
		}
	}
	return known
}

// configure notes that dpkg has come to another package.
func (r *Recorder) configure(at time.Time, text string) {
	name := packageIn(text)
	if name == "" {
		return
	}
	if r.current == "" {
		r.phases = append(r.phases, phase{begun: at, parts: map[string]time.Duration{}})
	}
	r.endPart(at)
	r.current, r.since = plan.PackageName(name), at
}

func (r *Recorder) endPart(at time.Time) {
	if r.current == "" || r.parts >= maxParts {
		return
	}
	r.parts++
	r.phases[len(r.phases)-1].parts[r.current] += at.Sub(r.since)
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
	Measured []plan.Measurement
	Parts    map[string]time.Duration // for plan.Rates.Remember
	Kinds    map[string][]string      // of parts, for plan.Rates.Accustom
	Actual   map[string]float64       // seconds of each stage that was timed
	Whole    float64                  // seconds of all that the plan predicts; 0 when not all was timed
	Before   float64                  // seconds of resolving and finding, after which there is a plan
}

// Outcome compares what was recorded, and the timeline of the job, with the
// option that p chose.
func (r *Recorder) Outcome(p plan.Plan, t ore.Timeline) Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := Outcome{Parts: map[string]time.Duration{}, Actual: map[string]float64{}}
	if len(p.Options) == 0 {
		return o
	}
	c := p.Chosen()
	for _, name := range []string{"resolve", "find"} {
		if s, ok := stage(t, name); ok {
			o.Before += s.End.Sub(s.Start).Seconds()
		}
	}
	o.Kinds = kinds(c, p.Weights)
	img, made := stage(t, "image")
	if made && !c.Each {
		o.Whole = img.End.Sub(img.Start).Seconds()
		r.build(&o, c, img)
	}
	if c.Strategy != "" && !r.installs(&o, c, t) {
		o.Whole = 0
		return o
	}
	boots, booted := bootSpan(t)
	for _, e := range c.Stages {
		switch e.Stage {
		case plan.Start:
			if !booted {
				o.Whole = 0
				return o
			}
			r.take(&o, e, boots)
			o.Whole += boots.ended.Sub(boots.begun).Seconds()
		case plan.Distribute:
			if !r.distributed(&o, e, t) {
				o.Whole = 0
				return o
			}
		}
	}
	return o
}

// distributed times bringing the image to other hosts, and says whether that came to
// its end. What went before the image was there is no part of it, and of inputs that
// went with it nobody has foreseen how large they are.
func (r *Recorder) distributed(o *Outcome, e plan.Estimate, t ore.Timeline) bool {
	d, done := r.sections[plan.Distribute]
	if !done || d.ended.IsZero() {
		return false
	}
	if s, timed := stage(t, plan.Distribute); timed {
		d.begun = s.Start
	}
	known := len(o.Measured)
	r.take(o, e, d)
	if _, inputs := stage(t, "inputs"); inputs {
		o.Measured = o.Measured[:known]
	}
	from := d.begun
	if img, made := stage(t, "image"); made && from.Before(img.End) { // the image's time has the rest
		from = img.End
	}
	if s, ok := stage(t, plan.Start); ok && s.Start.Before(d.ended) { // machines start meanwhile
		d.ended = s.Start
		if boots, ok := bootSpan(t); ok && r.sections[plan.Distribute].ended.After(boots.ended) {
			d.ended = d.ended.Add(r.sections[plan.Distribute].ended.Sub(boots.ended))
		}
	}
	o.Whole += max(0, d.ended.Sub(from).Seconds())
	return true
}

// build times the stages of making the image.
func (r *Recorder) build(o *Outcome, c plan.Option, img ore.Stage) {
	begun, phases, stepped := img.Start, r.phases, false
	for _, e := range c.Stages {
		switch e.Stage {
		case plan.Pull, plan.Fetch:
			if s := r.sections[e.Stage]; s.ended.After(s.begun) {
				s.begun = begun // of its first request
				r.take(o, e, s)
				begun = s.ended
			}
		case plan.Register:
			r.take(o, e, r.registering(img.End))
		case plan.Restore:
			if s := r.sections[e.Stage]; s.ended.After(s.begun) {
				r.take(o, e, s)
			}
		case plan.Remove:
			if s := r.sections[e.Stage]; s.ended.After(s.begun) {
				r.name(o, e, s)
				r.take(o, o.corrected(e), s)
			}
		case plan.DiskImage:
			if s := r.sections[e.Stage]; s.ended.After(s.begun) {
				r.take(o, e, s)
				img.End = s.begun // of what comes before it
			}
		case plan.Unpack:
			for _, before := range []string{plan.Pull, plan.Fetch} {
				if s := r.sections[before]; s.ended.After(begun) {
					begun = s.ended
				}
			}
			if len(r.phases) > 0 {
				between := begun
				for _, beside := range []string{plan.Restore, plan.Remove} {
					if s := r.sections[beside]; s.begun.After(begun) && !s.ended.After(r.phases[0].begun) {
						between = between.Add(s.ended.Sub(s.begun)) // no part of it
					}
				}
				r.take(o, e, phase{begun: between, ended: r.phases[0].begun})
			}
		case plan.Configure:
			if len(phases) == 0 || phases[0].ended.IsZero() {
				continue
			}
			begun = phases[0].ended
			r.take(o, e, phases[0])
			r.name(o, e, phases[0])
			phases = phases[1:]
		case plan.Steps:
			stepped = true
			if s := r.sections[plan.Steps]; s.ended.After(s.begun) {
				r.take(o, e, s)
				s.parts = ran(c.Steps, s.parts)
				r.name(o, e, s)
			} else if !r.sealed.IsZero() { // between two layers
				r.take(o, e, phase{begun: r.sealed, ended: r.sealing})
			}
		}
	}
	if len(r.phases) > 1 && r.sealing.After(begun) {
		begun = r.sealing // before, it may have waited for the layer below
	}
	for _, e := range c.Stages {
		if e.Stage == plan.Seal && !stepped && len(r.phases) > 0 && len(phases) == 0 && img.End.After(begun) {
			r.take(o, e, phase{begun: begun, ended: img.End})
		}
	}
}

// registering is what comes after a pull, until end or until a disk is made of it.
func (r *Recorder) registering(end time.Time) (s phase) {
	pulled := r.sections[plan.Pull]
	if !pulled.ended.After(pulled.begun) {
		return s
	}
	if d := r.sections[plan.DiskImage]; d.begun.After(pulled.ended) {
		end = d.begun
	}
	return phase{begun: pulled.ended, ended: end}
}

// take notes that a stage took d. Its first branch is what was timed: what runs
// beside it is timed by other stages.
func (r *Recorder) take(o *Outcome, e plan.Estimate, s phase) {
	d := s.ended.Sub(s.begun)
	if d <= 0 {
		return
	}
	o.Actual[e.Stage] += d.Seconds()
	if len(e.Branches) == 0 || len(e.Branches[0]) == 0 {
		return
	}
	law := e.Branches[0][0].Law
	var amounts []float64
	for _, t := range e.Branches[0] {
		if t.Law != law {
			continue
		}
		times := t.Times()
		if load, known := r.others(t, s.begun, d); known {
			times = t.ShareUnder(load)
		}
		if amounts == nil {
			amounts = make([]float64, len(t.Amounts))
		}
		for i, a := range t.Amounts {
			amounts[i] += times * a
		}
	}
	o.Measured = append(o.Measured, plan.Measurement{Law: law, Amounts: amounts, Took: time.Duration(float64(d) / (1 + e.Late))})
}

// corrected returns e with what its guessed parts took in place of the guesses: a law
// is of what is known of the work, and not of how far one part differs from others.
func (o *Outcome) corrected(e plan.Estimate) plan.Estimate {
	if len(e.Guessed) == 0 || len(e.Branches) == 0 || len(e.Branches[0]) == 0 {
		return e
	}
	t := e.Branches[0][0]
	t.Amounts = slices.Clone(t.Amounts)
	for name, guess := range e.Guessed {
		if d, timed := o.Parts[name]; timed {
			t.Amounts[1] = max(0, t.Amounts[1]+d.Seconds()-guess)
			if guess == 0 {
				t.Amounts[2]--
			}
		}
	}
	e.Branches = [][]plan.Term{append([]plan.Term{t}, e.Branches[0][1:]...)}
	return e
}

// name notes what the parts of a phase took, as they would have alone.
func (r *Recorder) name(o *Outcome, e plan.Estimate, s phase) {
	if len(e.Branches) == 0 || len(e.Branches[0]) == 0 {
		return
	}
	t := e.Branches[0][0]
	times := t.Times()
	if load, known := r.others(t, s.begun, s.ended.Sub(s.begun)); known {
		times = t.ShareUnder(load)
	}
	for name, d := range s.parts {
		o.Parts[name] += time.Duration(float64(d) / times)
	}
}

// kinds says of what kinds the packages that an option removes are.
func kinds(c plan.Option, weights map[ore.Digest]plan.Weight) map[string][]string {
	all := map[string][]string{}
	for _, p := range c.Remove {
		w, known := weights[p.Digest]
		all[plan.RemovalName(p.Name)] = plan.RemovalKind(w, known)
	}
	return all
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
func bootSpan(t ore.Timeline) (phase, bool) {
	s, ok := stage(t, "start")
	if !ok {
		return phase{}, false
	}
	last := s.Start
	for _, b := range t {
		if b.Name == "boot" && b.End.After(last) && !b.End.After(s.End) {
			last = b.End
		}
	}
	return phase{begun: s.Start, ended: last}, last.After(s.Start)
}
