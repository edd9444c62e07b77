package learn

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/plan"
	"ore/plan/hindsight"
)

func measured(r plan.Rates) plan.Rates {
	return r.Learn(plan.Measurement{Law: "seal@here", Amounts: []float64{1, 100}, Took: time.Second})
}

// No measurement of several at once is lost.
func TestSeveralLearnAtOnce(t *testing.T) {
	m := Memory{Dir: t.TempDir()}
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			if err := m.Change(&hindsight.Run{Whole: 1}, measured); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	runs, err := m.Runs()
	if n := m.Rates().Laws["seal@here"].Count; n != 8 || len(runs) != 8 || err != nil {
		t.Errorf("%d measurements, %d runs, %v", n, len(runs), err)
	}
}

func TestDamage(t *testing.T) {
	m := Memory{Dir: t.TempDir()}
	if r := m.Rates(); len(r.Laws) != 0 {
		t.Errorf("a new site knows %v", r)
	}
	for _, damage := range []string{"{damaged", `{"Version":1,"Laws":{"seal@here":{}}}`, `{"Fetch":1}`, ""} {
		if err := os.WriteFile(m.RatesPath(), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := m.Rates(); len(r.Laws) != 0 {
			t.Errorf("%q: %v", damage, r)
		}
	}
	if err := m.Change(&hindsight.Run{Whole: 1}, measured); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(m.RunsPath(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"Whole":2,"Opt`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Change(&hindsight.Run{Whole: 3}, measured); err != nil {
		t.Fatal(err)
	}
	runs, err := m.Runs()
	if err != nil || len(runs) != 2 || runs[1].Whole != 3 {
		t.Errorf("after a line cut short: %+v, %v", runs, err)
	}
}

// The runs that are kept are bounded, and the latest stay.
func TestRunsAreBounded(t *testing.T) {
	m := Memory{Dir: t.TempDir()}
	f, err := os.Create(m.RunsPath())
	if err != nil {
		t.Fatal(err)
	}
	for i := range hindsight.MaxRuns + hindsight.MaxRuns/10 {
		fmt.Fprintf(f, "{\"Whole\":%d}\n", i)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Change(&hindsight.Run{Whole: -1}, measured); err != nil {
		t.Fatal(err)
	}
	runs, err := m.Runs()
	if err != nil || len(runs) > hindsight.MaxRuns+1 || runs[len(runs)-1].Whole != -1 {
		t.Errorf("%d runs are kept, the last %v; %v", len(runs), runs[len(runs)-1].Whole, err)
	}
}

// A watched build teaches rates, and its events reach who watches.
func TestWatch(t *testing.T) {
	m := Memory{Dir: t.TempDir()}
	env := ore.Environment{Packages: []ore.Package{{Name: "p", Size: 1000, Digest: "sha256:p", Base: true}}}
	p := plan.Choose(plan.Ask{Environment: env}, plan.Have{}, m.Rates())
	w := &Watch{Memory: m, Find: func(_ context.Context, k ore.Key) (image.Manifest, error) {
		if k != env.Key() {
			t.Errorf("image %s is looked for, %s was made", k, env.Key())
		}
		return image.Manifest{Layers: []image.Layer{{Size: 1000}, {Size: 250}}}, nil
	}}
	seen := 0
	tell := w.Through(func(ore.Event) { seen++ })
	begun := time.Now()
	tell(ore.Event{Stage: "configure", Text: "p (1) ..."})
	for time.Since(begun) < 5*time.Millisecond { // a stage must take some time to count
	}
	tell(ore.Event{Stage: "configure", Final: true})
	w.Learn(ore.Timeline{{Name: "image", Start: begun.Add(-time.Second), End: time.Now().Add(time.Second)}}, p)
	r := m.Rates()
	runs, err := m.Runs()
	if seen != 2 || r.Layer != 1.25 || r.Names["package p"] <= 0 || len(r.Laws) == 0 || len(runs) != 1 || err != nil {
		t.Errorf("%d events, %+v, %d runs, %v", seen, r, len(runs), err)
	}
}

// A way that was given up is remembered as a wrong prediction; an image that was
// there is none.
func TestGivenUpIsKept(t *testing.T) {
	m := Memory{Dir: t.TempDir()}
	end := time.Now()
	made := ore.Timeline{{Name: "image", Start: end.Add(-time.Second), End: end}}
	for _, way := range []plan.Way{plan.Exact, plan.Fetched} {
		(&Watch{Memory: m}).Learn(made, plan.Plan{Options: []plan.Option{{Way: way, Possible: true}}})
	}
	runs, err := m.Runs()
	if err != nil || len(runs) != 1 || runs[0].Options[0].Way != plan.Fetched || runs[0].Whole != 1 || len(runs[0].Actual) != 0 {
		t.Errorf("%+v, %v", runs, err)
	}
}

// A step that took long is expected to take long again, whatever others of its job do:
// what a job showed goes through the files to the next plan.
func TestStepsAreLearnedByName(t *testing.T) {
	env := ore.Environment{Steps: []ore.Step{{Name: "quick", Run: "true"}, {Name: "slow", Run: "echo quick; sleep 15"}, {Name: "old", Run: "sleep 99"}}}
	have := plan.Have{Base: true, Steps: []string{"old"}}
	stages := func(p plan.Plan) (steps plan.Estimate) {
		for _, e := range p.Chosen().Stages {
			if e.Stage == plan.Steps {
				steps = e
			}
		}
		return steps
	}
	m := Memory{Dir: t.TempDir()}
	p := plan.Choose(plan.Ask{Environment: env}, have, m.Rates())
	begun := time.Now()
	l := &Watch{Memory: m}
	for _, e := range []struct {
		at float64
		ore.Event
	}{
		{1, ore.Event{Text: "old: done before", Done: 3, Total: 3}},
		{1, ore.Event{Text: "quick", Done: 0, Total: 3}},
		{1.25, ore.Event{Text: "slow", Done: 1, Total: 3}},
		{2, ore.Event{Text: "quick"}}, // is what the slow one says
		{16.25, ore.Event{Text: "done", Final: true}},
	} {
		e.Stage = plan.Steps
		l.parts.Take(begun.Add(time.Duration(e.at*float64(time.Second))), e.Event)
	}
	l.Learn(ore.Timeline{{Name: "image", Start: begun, End: begun.Add(17 * time.Second)}}, p)
	for want, name := range map[float64]string{0.25: "true", 15: "echo quick; sleep 15", 0: "sleep 99"} {
		if got := m.Rates().Names[plan.StepName(name)]; got != want {
			t.Errorf("%s: %v s, want %v", name, got, want)
		}
	}
	if e := stages(plan.Choose(plan.Ask{Environment: env}, have, m.Rates())); !e.Known || e.Work != 2 || e.Seconds.Middle < 15 || e.Seconds.Middle > 15.5 {
		t.Errorf("both again: %+v", e)
	}
	env.Steps = env.Steps[1:2]
	if e := stages(plan.Choose(plan.Ask{Environment: env}, plan.Have{Base: true}, m.Rates())); !e.Known || e.Seconds.Middle < 14.5 || e.Seconds.Middle > 15.5 {
		t.Errorf("the slow one alone: %+v", e)
	}
}
