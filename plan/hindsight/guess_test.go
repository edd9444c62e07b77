package hindsight

import (
	"math"
	"testing"
	"time"

	"ore"
	"ore/plan"
)

// removing is a site that removes packages, in so many seconds each.
type removing struct {
	t       *testing.T
	rates   plan.Rates
	weights map[ore.Digest]plan.Weight
}

// plan returns the plan that removes these.
func (r *removing) plan(names []string) plan.Plan {
	env := environment()
	c := plan.Candidate{Files: true, Missing: env.Packages[1:]}
	for _, name := range names {
		c.Extra = append(c.Extra, ore.Package{Name: name, Digest: ore.DigestOf([]byte(name))})
	}
	p := plan.Choose(plan.Ask{Environment: env, Hosts: []plan.Host{{Cores: 2}}}, plan.Have{Candidates: []plan.Candidate{c}, Weights: r.weights}, r.rates)
	for _, o := range p.Options {
		if o.Way == plan.Partial {
			p.Options = []plan.Option{o}
			return p
		}
	}
	r.t.Fatalf("no partial way among %+v", p.Options)
	return p
}

// predict returns the stage of removing these.
func (r *removing) predict(names ...string) plan.Estimate {
	for _, e := range r.plan(names).Chosen().Stages {
		if e.Stage == plan.Remove {
			return e
		}
	}
	r.t.Fatal("nothing is removed")
	return plan.Estimate{}
}

// run has the site learn that removing them took these seconds.
func (r *removing) run(names []string, took ...float64) {
	at := func(s float64) time.Time { return time.Unix(0, 0).Add(time.Duration(s * float64(time.Second))) }
	p := r.plan(names)
	var seen Recorder
	now := 1.0
	seen.Take(at(now), ore.Event{Stage: plan.Remove, Text: "some packages"})
	for i, n := range names {
		seen.Take(at(now), ore.Event{Stage: plan.Remove, Text: n + " (1) ..."})
		now += took[i]
	}
	seen.Take(at(now), ore.Event{Stage: plan.Remove, Final: true})
	o := seen.Outcome(p, ore.Timeline{{Name: "image", Start: at(0), End: at(now + 1)}})
	r.rates = r.rates.Learn(o.Measured...).Accustom(o.Parts, o.Kinds).Remember(o.Parts, 0)
}

// A package that was never removed is expected to take what those took that were
// configured in about as long, where nobody has read its scripts.
func TestRemovalIsJudgedByConfiguring(t *testing.T) {
	s := &removing{t: t}
	took := map[string]time.Duration{}
	for _, n := range []string{"a", "b", "c", "d", "calm"} {
		took[plan.PackageName(n)] = 6 * time.Millisecond
	}
	for _, n := range []string{"w", "x", "y", "z", "wild"} {
		took[plan.PackageName(n)] = 200 * time.Millisecond
	}
	s.rates = s.rates.Remember(took, 0)
	s.run([]string{"a", "b", "c", "d", "w", "x", "y", "z"}, 0.1, 0.1, 0.1, 0.1, 2, 2, 2, 2)
	calm, wild, unknown := s.predict("calm").Seconds.Middle, s.predict("wild").Seconds.Middle, s.predict("never configured").Seconds.Middle
	if calm > 0.4 || wild < 1.6 || math.Abs(unknown-1.05) > 0.2 {
		t.Errorf("%.2f s and %.2f s for the one and the other kind, %.2f s for one of which nothing is known", calm, wild, unknown)
	}
}

// How far packages differ is in the range of a removal that was never seen, and
// less of it where there are many: then some make good what others take.
func TestGuessesWidenTheRange(t *testing.T) {
	many := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"}
	wide := func(names []string, took ...float64) float64 {
		s := &removing{t: t}
		for range 12 {
			s.run([]string{"a", "b", "c", "d", "e"}, took...)
		}
		e := s.predict(names...)
		return (e.Seconds.High - e.Seconds.Low) / e.Seconds.Middle
	}
	alike, apart := []float64{0.88, 0.88, 0.88, 0.88, 0.88}, []float64{0.1, 0.1, 0.1, 0.1, 4}
	one, sixteen := wide([]string{"new"}, apart...), wide(many, apart...)
	if like := wide([]string{"new"}, alike...); one < 1.5*like {
		t.Errorf("the range of one is %.2f of its middle where all take the same, %.2f where they differ", like, one)
	}
	if like := wide(many, alike...); sixteen < 1.2*like || sixteen > 0.8*one {
		t.Errorf("the range of sixteen is %.2f of its middle where all take the same, %.2f where they differ, that of one then %.2f", like, sixteen, one)
	}
}

// What packages take that were never removed before teaches what they take, and not
// that all others take more.
func TestGuessesTeachNoLaw(t *testing.T) {
	s := &removing{t: t}
	s.run([]string{"known", "other"}, 1, 1)
	s.run([]string{"known", "other"}, 1, 1)
	before := s.predict("known").Seconds.Middle
	for i := range 6 {
		s.run([]string{"known", string(rune('a' + i))}, 1, 9)
	}
	if after := s.predict("known").Seconds.Middle; math.Abs(after/before-1) > 0.1 {
		t.Errorf("removing one is predicted to take %.2f s, and %.2f s when others took long", before, after)
	}
}
