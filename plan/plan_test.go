package plan

import (
	"testing"
	"time"

	"ore"
	"ore/image"
)

func environment() ore.Environment {
	e := ore.Environment{Packages: []ore.Package{
		{Name: "a", Size: 1000, Digest: "sha256:a", Base: true},
		{Name: "b", Size: 3000, Digest: "sha256:b"},
	}}
	return e
}

func TestChoose(t *testing.T) {
	rates := Rates{Fetch: 1000, Decode: 1000, Reuse: 10000, Configure: 1, Seal: 4000, Start: 4}
	m := &image.Manifest{}
	for _, c := range []struct {
		summary string
		have    Have
		rates   Rates
		way     Way
		took    time.Duration
	}{
		{"nothing there", Have{}, rates, Clean, 12 * time.Second},
		{"base there", Have{Base: true}, rates, Delta, 3*time.Second + 3*time.Second + time.Second + 750*time.Millisecond + time.Second},
		{"exact there", Have{Base: true, Exact: m}, rates, Exact, time.Second},
		{"debs at hand", Have{Debs: map[ore.Digest]bool{"sha256:a": true, "sha256:b": true}}, rates, Clean, 8 * time.Second},
		{"nothing measured, base there", Have{Base: true}, Rates{}, Delta, 0},
		{"nothing measured, exact there", Have{Base: true, Exact: m}, Rates{}, Exact, 0},
	} {
		t.Run(c.summary, func(t *testing.T) {
			p := Choose(environment(), 4, c.have, c.rates)
			if got := p.Chosen(); got.Way != c.way || got.Why != "" {
				t.Fatalf("chose %s (%s), want %s", got.Way, got.Why, c.way)
			}
			if took, known := p.Chosen().Time(); took != c.took || known != (c.rates != Rates{}) {
				t.Errorf("predicted %v, known %v; want %v", took, known, c.took)
			}
			for _, o := range p.Options[1:] {
				if o.Why == "" {
					t.Errorf("%s lost without a reason", o.Way)
				}
			}
		})
	}
}

func TestLearn(t *testing.T) {
	r := Rates{}.Learn(Fetch, 1000, time.Second)
	if r.Fetch != 1000 {
		t.Errorf("first measurement gives %v", r.Fetch)
	}
	if r = r.Learn(Fetch, 2000, time.Second); r.Fetch != 1300 {
		t.Errorf("second measurement gives %v", r.Fetch)
	}
	if got := r.Learn(Fetch, 0, time.Second).Learn(Fetch, 5, time.Microsecond); got != r {
		t.Errorf("measurements of nothing changed the rates to %+v", got)
	}
}
