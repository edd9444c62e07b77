package hindsight

import (
	"time"

	"ore"
	"ore/plan"
)

// Stages of the timeline between which a machine that installs itself does so.
const (
	firstStage = "installer start"
	readyStage = "ready"
)

// installed is what one machine took.
type installed struct {
	begun, restart, ready time.Time
	took                  map[string]time.Duration // by the plan's stages
}

// installs times machines that installed themselves: what the mean of them took for
// each stage of c, and all of them from the first's start to the last that was
// ready. It says whether the timeline has all of it.
func (r *Recorder) installs(o *Outcome, c plan.Option, t ore.Timeline) bool {
	machines := map[string]*installed{}
	var first, last time.Time
	for _, s := range t {
		if s.Machine == "" {
			continue
		}
		m := machines[s.Machine]
		if m == nil {
			if s.Name != firstStage {
				continue
			}
			m = &installed{begun: s.Start, took: map[string]time.Duration{}}
			machines[s.Machine] = m
		}
		switch s.Name {
		case plan.Pour, plan.Packages:
			m.took[s.Name] += s.End.Sub(s.Start)
		case plan.Restart:
			m.restart = s.Start
			m.took[s.Name] += s.End.Sub(s.Start)
		case readyStage:
			m.ready = s.End
		}
		if first.IsZero() || s.Start.Before(first) {
			first = s.Start
		}
		if m.ready.After(last) {
			last = m.ready
		}
	}
	sum := map[string]time.Duration{}
	for _, m := range machines {
		if m.ready.IsZero() || m.restart.Before(m.begun) {
			return false
		}
		m.took[plan.Setup] = m.restart.Sub(m.begun) - m.took[plan.Pour] - m.took[plan.Packages]
		for name, d := range m.took {
			sum[name] += d
		}
	}
	if len(machines) == 0 {
		return false
	}
	for _, e := range c.Stages {
		switch e.Stage {
		case plan.Setup, plan.Pour, plan.Packages, plan.Restart:
			r.take(o, e, phase{begun: first, ended: first.Add(sum[e.Stage] / time.Duration(len(machines)))})
		}
	}
	o.Whole += last.Sub(first).Seconds()
	return true
}
