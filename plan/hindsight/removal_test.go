package hindsight

import (
	"math"
	"testing"
	"time"

	"ore"
	"ore/plan"
)

// Removing is learned package by package: what stopped a service for five seconds
// is expected to do so again, and what took nothing to take nothing. What removing
// takes teaches nothing about configuring, under whose law it was first predicted.
func TestRemovalIsLearnedByPackage(t *testing.T) {
	env := environment()
	have := func(extra ...string) plan.Have {
		c := plan.Candidate{Files: true, Missing: env.Packages[1:]}
		for _, name := range extra {
			c.Extra = append(c.Extra, ore.Package{Name: name})
		}
		return plan.Have{Candidates: []plan.Candidate{c}}
	}
	ask := plan.Ask{Environment: env, Hosts: []plan.Host{{Cores: 2}}}
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	partial := func(h plan.Have, r plan.Rates) plan.Plan {
		p := plan.Choose(ask, h, r)
		for _, o := range p.Options {
			if o.Way == plan.Partial {
				p.Options = []plan.Option{o}
				return p
			}
		}
		t.Fatalf("no partial way among %+v", p.Options)
		return p
	}
	var learned plan.Rates
	removal := func(names ...string) plan.Estimate {
		for _, e := range partial(have(names...), learned).Chosen().Stages {
			if e.Stage == plan.Remove {
				return e
			}
		}
		t.Fatal("nothing is removed")
		return plan.Estimate{}
	}
	learned = plan.Rates{}.Learn(plan.Measurement{Law: "configure@" + plan.Here, Amounts: []float64{1, 0, 4, 4e6}, Took: 4 * time.Second})
	for range 4 {
		p := partial(have("service", "tree"), learned)
		var r Recorder
		r.Take(at(1), ore.Event{Stage: "remove", Text: "2 packages"})
		r.Take(at(1), ore.Event{Stage: "remove", Text: "service (1) ..."})
		r.Take(at(3), ore.Event{Stage: "remove", Text: "'diversion of /bin/x by service'"})
		r.Take(at(6), ore.Event{Stage: "remove", Text: "tree:amd64 (1) ..."})
		r.Take(at(6.1), ore.Event{Stage: "remove", Final: true})
		r.Take(at(7), ore.Event{Stage: "configure", Text: "p1:amd64 (1) ..."})
		r.Take(at(8), ore.Event{Stage: "configure", Final: true})
		r.Take(at(8), ore.Event{Stage: "seal"})
		r.Take(at(9), ore.Event{Stage: "seal", Final: true})
		o := r.Outcome(p, ore.Timeline{{Name: "image", Start: at(0), End: at(9)}})
		if o.Actual[plan.Remove] != 5.1 || o.Parts["removal service"] != 5*time.Second || o.Parts["removal tree"] != 100*time.Millisecond {
			t.Fatalf("it took %v, by parts %v", o.Actual, o.Parts)
		}
		for _, m := range o.Measured {
			if m.Took == 5100*time.Millisecond && m.Law != "removal@"+plan.Here {
				t.Errorf("removing teaches %s", m.Law)
			}
		}
		learned = learned.Learn(o.Measured...).Remember(o.Parts, 0)
	}
	for name, want := range map[string]float64{"service": 5, "tree": 0.1} {
		if e := removal(name); !e.Known || math.Abs(e.Seconds.Middle-want) > 0.1*want+0.05 {
			t.Errorf("removing %s is predicted to take %v, known %v, not %v", name, e.Seconds, e.Known, want)
		}
	}
}
