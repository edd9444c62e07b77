package hindsight

import (
	"math"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/plan"
)

// What machines that installed themselves took is what the next ones are predicted
// by, each strategy by its own; the time until they are ready is no time of starting
// machines that mount an image.
func TestLearnFromMachinesThatInstall(t *testing.T) {
	env := environment()
	exact := &image.Manifest{Key: env.Key(), Layers: []image.Layer{{Digest: "sha256:l", Size: 8e6}}}
	all := []string{plan.FromImage, plan.FromBase, plan.FromPackages}
	ask := plan.Ask{Environment: env, Machines: 2, Starts: []string{"uml"}, Restarts: []string{"direct"}, Hosts: []plan.Host{{Cores: 2}}}
	have := plan.Have{Exact: exact}
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	// Each machine sets up for 2 s, writes the layers or installs, is configured for
	// 1 s and starts again in a half.
	played := func(stage string, took float64) ore.Timeline {
		line := ore.Timeline{{Name: "image", Start: at(0), End: at(1)}, {Name: "start", Start: at(1), End: at(60)}}
		for i, m := range []string{"m0", "m1"} {
			from := 1 + float64(i) // one begins a second after the other
			next := func(name string, d float64) {
				line = append(line, ore.Stage{Name: name, Machine: m, Start: at(from), End: at(from + d)})
				from += d
			}
			next("installer start", 1)
			next("format", 1)
			next(stage, took)
			next("configure", 1)
			next("restart", 0.5)
			next("ready", 0)
			line = append(line, ore.Stage{Name: "boot", Machine: m, Start: at(from - 0.3), End: at(from)})
		}
		return line
	}
	var rates plan.Rates
	for _, c := range []struct {
		strategy, stage string
		took            float64
	}{{plan.FromPackages, plan.Packages, 20}, {plan.FromImage, plan.Pour, 4}} {
		ask.Disk = []string{c.strategy}
		have := have
		if c.strategy == plan.FromPackages {
			have = plan.Have{Debs: map[ore.Digest]bool{}}
			for _, p := range env.Packages {
				have.Debs[p.Digest] = true
			}
		}
		for range 3 {
			p := plan.Choose(ask, have, rates)
			var r Recorder
			o := r.Outcome(p, played(c.stage, c.took))
			for stage, s := range map[string]float64{plan.Setup: 3, c.stage: c.took, plan.Restart: 0.5} {
				if math.Abs(o.Actual[stage]-s) > 1e-9 {
					t.Errorf("%s: stage %s took %.3f s, want %.3f", c.strategy, stage, o.Actual[stage], s)
				}
			}
			if _, wrong := o.Actual[plan.Start]; wrong {
				t.Errorf("%s: it taught what starting takes: %v", c.strategy, o.Actual)
			}
			rates = rates.Learn(o.Measured...)
		}
	}
	ask.Disk = all
	p := plan.Choose(ask, have, rates)
	if o := p.Chosen(); o.Strategy != plan.FromImage || !o.Known || math.Abs(o.Total.Middle-7.5) > 0.75 {
		t.Errorf("%s, %.2f s, known %v", o.Strategy, o.Total.Middle, o.Known)
	}
	ask.Disk = []string{plan.FromPackages}
	if o := plan.Choose(ask, plan.Have{}, rates).Chosen(); math.Abs(o.Total.Middle-23.5) > 2.4 {
		t.Errorf("%s, %.2f s: %+v", o.Strategy, o.Total.Middle, o.Stages)
	}
	// One that was never ready, or a timeline of others, teaches nothing of it.
	var r Recorder
	if o := r.Outcome(p, played(plan.Pour, 4)[:6]); o.Whole != 0 || o.Actual[plan.Pour] != 0 {
		t.Errorf("half a timeline: %+v", o)
	}
}
