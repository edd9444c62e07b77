package hindsight

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/plan"
)

// job plays a build over a base: packages are fetched until second 2, unpacked
// until 5, configured until 9 in equal parts, sealed until 10; machines start
// from 11 to 13.
func job(r *Recorder, packages []ore.Package) ore.Timeline {
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	r.Take(at(0.5), ore.Event{Stage: "fetch"})
	r.Take(at(2), ore.Event{Stage: "fetch", Final: true})
	for i, p := range packages {
		r.Take(at(5+4*float64(i)/float64(len(packages))), ore.Event{Stage: "configure", Text: p.Name + ":amd64 (1) ..."})
	}
	r.Take(at(9), ore.Event{Stage: "configure", Final: true})
	r.Take(at(9.1), ore.Event{Stage: "seal"})
	r.Take(at(9.9), ore.Event{Stage: "seal", Final: true})
	r.Take(at(10), ore.Event{Stage: "configure", Machine: "m0", Text: "of a machine"})
	return ore.Timeline{
		{Name: "resolve", Start: at(-3), End: at(0)},
		{Name: "image", Start: at(0), End: at(10)},
		{Name: "start", Start: at(11), End: at(15)}, // inputs are brought until 15
		{Name: "boot", Machine: "m0", Start: at(11), End: at(13)},
	}
}

func environment() ore.Environment {
	var env ore.Environment
	for i := range 4 {
		env.Packages = append(env.Packages, ore.Package{Name: fmt.Sprint("p", i), Size: 1e6, Digest: ore.Digest(fmt.Sprint("sha256:", i))})
	}
	return env
}

// What a job showed is what the next one is predicted by.
func TestLearnFromAJob(t *testing.T) {
	env := environment()
	ask := plan.Ask{Environment: env, Machines: 1, Hosts: []plan.Host{{Cores: 2}}}
	have := plan.Have{Base: true}
	var rates plan.Rates
	p := plan.Choose(ask, have, rates)
	if p.Chosen().Known {
		t.Fatal("known before anything ran")
	}
	for range 3 {
		var r Recorder
		o := r.Outcome(p, job(&r, env.Packages))
		want := map[string]float64{plan.Fetch: 2, plan.Unpack: 3, plan.Configure: 4, plan.Seal: 1, plan.Start: 2}
		for stage, s := range want {
			if math.Abs(o.Actual[stage]-s) > 1e-9 {
				t.Errorf("%s took %v, want %v", stage, o.Actual[stage], s)
			}
		}
		if o.Whole != 12 || len(o.Parts) != 4 || o.Parts["package p1"] != time.Second {
			t.Errorf("whole %v, parts %v", o.Whole, o.Parts)
		}
		rates = rates.Learn(o.Measured...).Remember(o.Parts, 1.1)
		p = plan.Choose(ask, have, rates)
	}
	c := p.Chosen()
	if want := 12.0; !c.Known || math.Abs(c.Total.Middle-want) > 0.02*want {
		t.Errorf("predicted %v, known %v, want %v", c.Total, c.Known, want)
	}
}

// A build under load teaches what it would have taken without.
func TestLoadIsTakenOut(t *testing.T) {
	env := environment()
	p := plan.Choose(plan.Ask{Environment: env, Hosts: []plan.Host{{Cores: 2}}}, plan.Have{Base: true}, plan.Rates{})
	measured := func(threads float64) float64 {
		var r Recorder
		timeline := job(&r, env.Packages)
		for i := range 100 {
			r.Load(time.Unix(0, 0).Add(time.Duration(i)*100*time.Millisecond), threads)
		}
		o := r.Outcome(p, timeline[:2])
		for _, m := range o.Measured {
			if m.Law == "configure@"+plan.Here {
				return m.Amounts[0]
			}
		}
		t.Fatalf("configuring was not measured: %+v", o.Measured)
		return 0
	}
	// One thread of ours with three of others on two cores: twice as long.
	if idle, busy := measured(1), measured(4); idle != 1 || busy != 2 {
		t.Errorf("idle %v, busy %v", idle, busy)
	}
}

// A run that was not timed whole says nothing of the whole.
func TestHalfTimed(t *testing.T) {
	env := environment()
	p := plan.Choose(plan.Ask{Environment: env, Machines: 1}, plan.Have{Base: true}, plan.Rates{})
	var r Recorder
	timeline := job(&r, env.Packages)
	if o := r.Outcome(p, timeline[:2]); o.Whole != 0 || o.Actual[plan.Seal] != 1 {
		t.Errorf("no machine started: whole %v, %v", o.Whole, o.Actual)
	}
	var none Recorder
	if o := none.Outcome(plan.Plan{}, nil); o.Whole != 0 || len(o.Measured) != 0 {
		t.Errorf("nothing: %+v", o)
	}
	exact := plan.Choose(plan.Ask{Environment: env}, plan.Have{Exact: &image.Manifest{}}, plan.Rates{})
	if o := none.Outcome(exact, timeline[:2]); len(o.Measured) != 0 {
		t.Errorf("an image that was there taught %+v", o.Measured)
	}
}

// Runs are judged by what they took, and choices by the rates of today.
func TestJudge(t *testing.T) {
	stage := func(s float64, law string) plan.Estimate {
		return plan.Estimate{Stage: plan.Configure, Known: true, Seconds: plan.Range{Low: s / 2, Middle: s, High: s * 2},
			Branches: [][]plan.Term{{{Law: law, Amounts: []float64{s}}}}}
	}
	option := func(w plan.Way, s float64, law string) plan.Option {
		e := stage(s, law)
		return plan.Option{Way: w, Possible: true, Known: true, Stages: []plan.Estimate{e}, Total: e.Seconds}
	}
	today := plan.Rates{}.Learn(
		plan.Measurement{Law: "a@", Amounts: []float64{1}, Took: 2 * time.Second}, // all that "a" does takes twice as long now
		plan.Measurement{Law: "b@", Amounts: []float64{1}, Took: time.Second})
	var runs []Run
	for i := range 10 {
		p := plan.Plan{Options: []plan.Option{option(plan.Delta, 10, "a@"), option(plan.Clean, 16, "b@"), {Way: plan.Exact, Why: "none"}}}
		r := NewRun(time.Unix(int64(i), 0), p, Outcome{Actual: map[string]float64{plan.Configure: 12.5}, Whole: 12.5})
		var back Run
		b, err := json.Marshal(r)
		if err != nil || json.Unmarshal(b, &back) != nil || len(back.Options) != 2 {
			t.Fatalf("%v: %s", err, b)
		}
		runs = append(runs, back)
	}
	runs = append(runs, Run{}, Run{Options: []plan.Option{{Way: plan.Clean}}})
	a := Judge(runs, today)
	if a.Runs != 12 || a.Unknown != 1 || a.Whole.Runs != 10 || math.Abs(a.Whole.Median-0.2) > 1e-9 || math.Abs(a.Whole.Bias+0.2) > 1e-9 || a.Whole.Inside != 1 {
		t.Errorf("%+v", a)
	}
	if len(a.Stages) != 1 || a.Stages[0].Stage != plan.Configure || a.Stages[0].Runs != 10 {
		t.Errorf("%+v", a.Stages)
	}
	if a.Judged != 10 || len(a.Wrong) != 10 || a.Wrong[0].Better != plan.Clean || math.Abs(a.Wrong[0].Cost-4) > 0.01 || math.Abs(a.Regret-0.25) > 0.001 {
		t.Errorf("judged %d, wrong %+v, regret %v", a.Judged, a.Wrong, a.Regret)
	}
}

// Of an image that is sent while it is made, what comes after it counts; that of
// one which is sent when it is done, all.
func TestWholeOfADistribution(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	p := plan.Plan{Options: []plan.Option{{Stages: []plan.Estimate{{Stage: plan.Distribute}}}}}
	for _, c := range []struct{ begun, ended, whole float64 }{{4, 13, 13}, {10, 13, 13}, {11, 13, 12}, {4, 9, 10}} {
		var r Recorder
		r.Take(at(c.begun), ore.Event{Stage: plan.Distribute})
		r.Take(at(c.ended), ore.Event{Stage: plan.Distribute, Final: true})
		o := r.Outcome(p, ore.Timeline{{Name: "image", Start: at(0), End: at(10)}})
		if math.Abs(o.Whole-c.whole) > 1e-9 {
			t.Errorf("sent from %v to %v: in all %v, want %v", c.begun, c.ended, o.Whole, c.whole)
		}
	}
}

// What goes to hosts beside the making of an image is no part of bringing it; where
// machines start before all of it has come, no time counts twice; what inputs took that
// went with it is nobody's law.
func TestDistributionByTheTimeline(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	p := plan.Plan{Options: []plan.Option{{Stages: []plan.Estimate{
		{Stage: plan.Distribute, Branches: [][]plan.Term{{{Law: "fetch@hosts a", Amounts: []float64{1, 100}}}}}, {Stage: plan.Start},
	}}}}
	for _, c := range []struct {
		summary            string
		began, ended, rest float64 // of bringing: its stage, and what came while machines started
		inputs             bool
		took, whole        float64
		taught             int
	}{
		{"all at once", 12, 15, 15, false, 3, 10 + 3 + 4, 1},
		{"a rest that comes while machines start", 12, 13, 16, false, 4, 10 + 1 + 4, 1},
		{"a rest that comes later", 12, 13, 20, false, 8, 10 + 1 + 4 + 3, 1},
		{"with inputs", 12, 15, 15, true, 3, 10 + 3 + 4, 0},
	} {
		var r Recorder
		r.Take(at(1), ore.Event{Stage: plan.Distribute, Text: "the kernel"})
		r.Take(at(c.ended), ore.Event{Stage: plan.Distribute, Final: true})
		if c.rest > c.ended {
			r.Take(at(c.ended), ore.Event{Stage: plan.Distribute, Text: "the rest"})
			r.Take(at(c.rest), ore.Event{Stage: plan.Distribute, Final: true})
		}
		line := ore.Timeline{
			{Name: "resolve", Start: at(-3), End: at(-2)}, {Name: "find", Start: at(-2), End: at(-0.5)},
			{Name: "image", Start: at(0), End: at(10)}, {Name: "distribute", Start: at(c.began), End: at(c.ended)},
			{Name: "start", Start: at(c.ended), End: at(c.ended + 5)}, {Name: "boot", Machine: "m0", Start: at(c.ended), End: at(c.ended + 4)},
		}
		if c.inputs {
			line = append(line, ore.Stage{Name: "inputs", Start: at(10), End: at(12)})
		}
		o := r.Outcome(p, line)
		taught := 0
		for _, m := range o.Measured {
			if m.Law == "fetch@hosts a" {
				taught++
			}
		}
		// The two seconds between the image and its way to the hosts are the host's own.
		if math.Abs(o.Actual[plan.Distribute]-c.took) > 1e-9 || math.Abs(o.Whole-c.whole) > 1e-9 || taught != c.taught {
			t.Errorf("%s: took %v, in all %v, taught %d", c.summary, o.Actual[plan.Distribute], o.Whole, taught)
		}
		if run := NewRun(at(30), p, o); run.Before != 2.5 {
			t.Errorf("%s: %v s before there was a plan", c.summary, run.Before)
		} else if a := Judge([]Run{run}, plan.Rates{}); a.Before != 2.5 {
			t.Errorf("%s: judged as %v s before", c.summary, a.Before)
		}
	}
}

// What goes on while machines run is timed to its own end, and not at all if it
// was cut short.
func TestDistributionThatGoesOn(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	p := plan.Plan{Options: []plan.Option{{Stages: []plan.Estimate{{Stage: plan.Distribute}}}}}
	var r Recorder
	r.Take(at(1), ore.Event{Stage: plan.Distribute})
	r.Take(at(3), ore.Event{Stage: plan.Distribute, Final: true})
	r.Take(at(3.5), ore.Event{Stage: plan.Distribute, Text: "the rest"})
	if o := r.Outcome(p, nil); len(o.Actual) > 0 {
		t.Errorf("cut short it took %v", o.Actual)
	}
	r.Take(at(9), ore.Event{Stage: plan.Distribute, Final: true})
	if o := r.Outcome(p, nil); math.Abs(o.Actual[plan.Distribute]-8) > 1e-9 {
		t.Errorf("from second 1 to 9 it took %v", o.Actual)
	}
}
