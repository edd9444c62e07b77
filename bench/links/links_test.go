package main

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"ore/plan"
)

// TestPoints: the same seed gives the same points, in every order of runs, and
// an overlapping image neither holds all of the set nor is held by it.
func TestPoints(t *testing.T) {
	s := settings{points: 60, seed: 7}
	all := points(s)
	if !reflect.DeepEqual(all, points(s)) {
		t.Fatal("the same seed gave other points")
	}
	s.points = 20
	if !reflect.DeepEqual(all[:20], points(s)) {
		t.Error("fewer points are not the first of more")
	}
	overlaps := 0
	for _, p := range all {
		if p.Hosts < 1 || p.Hosts > 4 || p.Rate < 0.5e6 || p.Rate > 1e9 {
			t.Errorf("%+v", p)
		}
		if p.Near == nil {
			continue
		}
		overlaps++
		both := map[string]int{}
		for _, name := range append(append([]string{}, p.Set...), p.Near...) {
			both[name]++
		}
		if shared := len(p.Set) + len(p.Near) - len(both); shared == 0 || shared == len(p.Set) || shared == len(p.Near) {
			t.Errorf("%v and %v do not overlap", p.Set, p.Near)
		}
	}
	if overlaps == 0 || overlaps == len(all) {
		t.Errorf("%d of %d points have an overlapping image", overlaps, len(all))
	}
}

// TestShared: hosts at once divide the link and the cores, and start no machines.
func TestShared(t *testing.T) {
	rates := plan.Rates{}.Learn(
		plan.Measurement{Law: "fetch@cache", Amounts: []float64{0, 1000}, Took: time.Second},
		plan.Measurement{Law: "configure@here", Amounts: []float64{0, 1, 0, 0}, Took: time.Second},
	)
	o := plan.Option{Stages: []plan.Estimate{
		{Stage: plan.Pull, Branches: [][]plan.Term{{{Law: "fetch@cache", Amounts: []float64{0, 1000}}}}},
		{Stage: plan.Start, Branches: [][]plan.Term{{{Law: "start uml@here", Amounts: []float64{1, 1}, Threads: 1}}}},
	}}
	if one, four := seconds(o, 1, rates), seconds(o, 4, rates); math.Abs(one-1) > 0.1 || math.Abs(four/one-4) > 0.3 {
		t.Errorf("a link: %.2f s for one, %.2f for four", one, four)
	}
	o.Stages[0] = plan.Estimate{Stage: plan.Configure, Branches: [][]plan.Term{{{Law: "configure@here", Amounts: []float64{0, 1, 0, 0}, Threads: 1, Cores: 2}}}}
	if s := shared(o, crowd{n: 4}); len(s.Stages) != 1 || s.Stages[0].Branches[0][0].Share < 2 || s.Stages[0].Draws > 1 {
		t.Errorf("four threads on two cores, of which none is late for itself: %+v", s.Stages)
	}
	if len(o.Stages) != 2 || o.Stages[0].Branches[0][0].Copies != 0 {
		t.Error("the option itself was changed")
	}
}

// TestCrowd: hosts at once take longer as far as they want more of the cores than there
// is, and who waits for half of the time wants half of one.
func TestCrowd(t *testing.T) {
	for _, c := range []struct {
		crowd crowd
		want  float64
	}{
		{crowd{n: 1, busy: 1.2}, 1},
		{crowd{n: 4, busy: 0.5}, 1},
		{crowd{n: 3, busy: 1}, 1.5},
		{crowd{n: 1, busy: 1, load: 3}, 1},
		{crowd{n: 3, busy: 1, load: 3}, 1.5},
		{crowd{n: 4}, 1},
	} {
		if got := c.crowd.stretch(2); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %v, want %v", c.crowd, got, c.want)
		}
	}
	term := crowd{n: 3, busy: 1}.on(plan.Term{Threads: 1, Cores: 2, Copies: 1})
	if math.Abs(term.Share-1.5) > 1e-9 {
		t.Errorf("%+v", term)
	}
	fetch := plan.Term{Amounts: []float64{1, 100}}
	if got := (crowd{n: 3}).over(fetch); got.Amounts[0] != 1 || got.Amounts[1] != 300 || fetch.Amounts[1] != 100 {
		t.Errorf("%+v of %+v", got, fetch)
	}
	for want, stages := range map[string][]string{fetching: {plan.Pull, plan.Register}, restoring: {plan.Restore, plan.Seal}, adding: {plan.Unpack}} {
		var o plan.Option
		for _, s := range stages {
			o.Stages = append(o.Stages, plan.Estimate{Stage: s})
		}
		if got := kindOfOption(o); got != want {
			t.Errorf("%v is %s, want %s", stages, got, want)
		}
	}
}

// TestEarlier: a run that ended early goes on, whatever its last line is.
func TestEarlier(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.jsonl")
	if err := os.WriteFile(file, []byte("{\"Number\":3,\"Try\":1}\n{\"Number\":3,\"Try\":2}\n{\"Number\":4,\"Tr"), 0o644); err != nil {
		t.Fatal(err)
	}
	known, err := earlier(file)
	if err != nil || len(known) != 1 || len(known[3]) != tries {
		t.Errorf("%v, %v", known, err)
	}
}
