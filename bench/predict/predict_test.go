package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"ore/plan"
)

// Two tasks on one core take as long as both, beside a thread of others longer;
// two flows share a link.
func TestEngine(t *testing.T) {
	e := &engine{}
	h := &processor{cores: 1, load: 1}
	l := &pipe{rate: 100}
	e.hosts, e.links = []*processor{h}, []*pipe{l}
	ends := map[string]float64{}
	end := func(name string) func() { return func() { ends[name] = e.now } }
	e.work(h, 1, end("a"))
	e.work(h, 2, end("b"))
	e.send(100, []*pipe{l}, end("x"))
	e.send(300, []*pipe{l}, end("y"))
	e.run(func() bool { return len(ends) == 4 })
	// a has a third of the core until 3, then b the half; x has half of the link
	// until 2, then y all.
	for name, want := range map[string]float64{"a": 3, "b": 5, "x": 2, "y": 4} {
		if math.Abs(ends[name]-want) > 1e-6 {
			t.Errorf("%s ended at %v, want %v", name, ends[name], want)
		}
	}
}

// Equal seeds give equal runs, other seeds others.
func TestRunsAreRepeatable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s := newSite(rng, newArchive(rng, 400), 4)
	p := s.newPoint(rng)
	o := plan.Choose(p.ask, p.have, plan.Rates{}).Chosen()
	a, _ := newRun(p, o, 1).whole()
	b, _ := newRun(p, o, 1).whole()
	c, _ := newRun(p, o, 2).whole()
	if a != b || a == c || a <= 0 {
		t.Errorf("%v, %v, %v", a, b, c)
	}
}

// The goals, on as many questions as take some seconds.
func TestGoals(t *testing.T) {
	var out bytes.Buffer
	all, err := answers(30, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	s := summarize(all)
	s.tell(&out)
	t.Log("\n" + out.String())
	if s.Median > 0.10 || s.P95 > 0.30 || s.Right < 0.85 || s.Regret > 0.02 {
		t.Errorf("far from the goals:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "| regret, mean |") {
		t.Error("the table lacks a row")
	}
}
