package hindsight

import (
	"math"
	"testing"
	"time"

	"ore"
	"ore/plan"
)

// What is done with an image after it came is a stage of its own, of the host and not of
// the link, and an image is fetched also where nobody has measured it.
func TestRegistering(t *testing.T) {
	env := environment()
	have := plan.Have{Candidates: []plan.Candidate{{Key: env.Key(), At: "there", Files: true, Layers: []plan.Layer{{Digest: "sha256:l", Size: 1e6, Fetch: 1e6}}}}}
	ask := plan.Ask{Environment: env, Hosts: []plan.Host{{Cores: 2}}}
	rates := plan.Rates{}.Learn(plan.Measurement{Law: plan.LinkLaw("there"), Amounts: []float64{1, 1e6}, Took: time.Second},
		plan.Measurement{Law: "unpack@here", Amounts: []float64{1, 4e6, 4e6}, Took: 900 * time.Millisecond},
		plan.Measurement{Law: "configure@here", Amounts: []float64{1, 0, 4, 4e6}, Took: 900 * time.Millisecond},
		plan.Measurement{Law: plan.LinkLaw(plan.Mirror), Amounts: []float64{4, 4e6}, Took: 900 * time.Millisecond},
		plan.Measurement{Law: "seal@here", Amounts: []float64{1, 4e6}, Took: 900 * time.Millisecond})
	p := plan.Choose(ask, have, rates)
	if c := p.Chosen(); c.Way != plan.Fetched || !c.Known {
		t.Fatalf("%s, known: %v", c.Way, c.Known)
	}
	var r Recorder
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	r.Take(at(0.2), ore.Event{Stage: plan.Pull})
	r.Take(at(1), ore.Event{Stage: plan.Pull, Final: true})
	o := r.Outcome(p, ore.Timeline{{Name: "image", Start: at(0), End: at(1.25)}})
	for stage, want := range map[string]float64{plan.Pull: 1, plan.Register: 0.25} {
		if math.Abs(o.Actual[stage]-want) > 1e-9 {
			t.Errorf("%s took %v, want %v", stage, o.Actual[stage], want)
		}
	}
	again := plan.Choose(ask, have, rates.Learn(o.Measured...))
	if got := again.Chosen().Total.Middle; math.Abs(got-1.25) > 0.03 {
		t.Errorf("predicted after it: %v, want 1.25", got)
	}
}
