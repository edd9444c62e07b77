package graph

import (
	"strings"
	"testing"

	"ore"
)

// What an image has run is gone on upon where each other step sees all of it or
// nothing, and what it did there is what it does in a build from nothing.
func TestAfter(t *testing.T) {
	step := func(name string, needs ...string) ore.Step {
		return ore.Step{Name: name, Needs: needs, Run: "make " + name}
	}
	a, b, c, onA, onAB := step("a"), step("b"), step("c"), step("onA", "a"), step("onAB", "a", "b")
	other := a
	other.Run = "make other"
	type steps = []ore.Step
	for _, x := range []struct {
		summary   string
		ran, want steps
		apart     []string
		why       string
		beside    bool
	}{
		{"nothing was run", nil, steps{a, b}, nil, "", false},
		{"one that is needed", steps{a}, steps{a, onA}, nil, "", false},
		{"one that is not", steps{a}, steps{a, b}, nil, "", true},
		{"one that comes last", steps{b}, steps{a, b}, nil, "", true},
		{"two, known to be apart", steps{a, b}, steps{a, b, c}, []string{"b"}, "", true},
		{"two, of which nothing is known", steps{a, b}, steps{a, b, onAB}, nil, "b of it may have seen more", false},
		{"two, both needed", steps{a, b}, steps{a, b, onAB}, []string{"b"}, "", false},
		{"two, one needed", steps{a, b}, steps{a, b, onA}, []string{"b"}, "onA needs some", false},
		{"one upon the other, and one beside", steps{a, onA}, steps{a, onA, c}, nil, "c needs none", false},
		{"one that needs what needs it", steps{a}, steps{a, onA, step("last", "onA")}, nil, "", false},
		{"another text", steps{other}, steps{a, b}, nil, "a, which is not asked for so", false},
		{"another order", steps{b, a}, steps{a, b, c}, []string{"a"}, "a, which is not asked for so", false},
	} {
		g, err := New(ore.Environment{Steps: x.want})
		if err != nil {
			t.Fatal(err)
		}
		after, why := g.After(x.ran, x.apart)
		if x.why == "" && why != "" || !strings.Contains(why, x.why) {
			t.Errorf("%s: %q, want %q", x.summary, why, x.why)
			continue
		}
		if x.why == "" && after.Beside() != x.beside {
			t.Errorf("%s: beside it %v", x.summary, !x.beside)
		}
	}
}
