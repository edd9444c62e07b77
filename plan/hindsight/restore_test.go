package hindsight

import (
	"math"
	"testing"
	"time"

	"ore"
	"ore/plan"
)

// Restoring the base's tree is a stage of its own, and no part of unpacking packages.
func TestRestoring(t *testing.T) {
	env := environment()
	have := plan.Have{Base: true, Restore: 5e7}
	p := plan.Choose(plan.Ask{Environment: env, Hosts: []plan.Host{{Cores: 2}}}, have, plan.Rates{})
	var r Recorder
	r.Take(time.Unix(2, 5e8), ore.Event{Stage: "restore", Text: "the tree"})
	r.Take(time.Unix(4, 0), ore.Event{Stage: "restore", Final: true})
	o := r.Outcome(p, job(&r, env.Packages)[:2])
	for stage, want := range map[string]float64{plan.Restore: 1.5, plan.Unpack: 1.5} {
		if math.Abs(o.Actual[stage]-want) > 1e-9 {
			t.Errorf("%s took %v, want %v", stage, o.Actual[stage], want)
		}
	}
	again := plan.Choose(plan.Ask{Environment: env, Hosts: []plan.Host{{Cores: 2}}}, have, plan.Rates{}.Learn(o.Measured...).Remember(o.Parts, 1))
	for _, e := range again.Chosen().Stages {
		if e.Stage == plan.Restore && (!e.Known || math.Abs(e.Seconds.Middle-1.5) > 0.03) {
			t.Errorf("predicted after it: %+v", e)
		}
	}
}
