package remote

import (
	"math"
	"testing"

	"ore"
	"ore/plan"
)

func TestFresh(t *testing.T) {
	pkg := func(name string, size int64) ore.Package {
		return ore.Package{Name: name, Size: size, Digest: ore.Digest("sha256:" + name), Base: name == "base"}
	}
	base, a, b, c, x := pkg("base", 1000), pkg("a", 100), pkg("b", 200), pkg("c", 300), pkg("x", 50)
	env := ore.Environment{Packages: []ore.Package{base, a, b, c}}
	here := func(missing, extra []ore.Package) plan.Candidate {
		return plan.Candidate{Missing: missing, Extra: extra}
	}
	for _, test := range []struct {
		summary string
		offer   offer
		here    []plan.Candidate
		want    float64
	}{
		{"nothing is here", offer{whole: true}, nil, 1},
		{"what another cache has is not here", offer{whole: true}, []plan.Candidate{{At: "there", Missing: []ore.Package{a}}}, 1},
		{"an image with two of three", offer{whole: true}, []plan.Candidate{here([]ore.Package{a}, []ore.Package{x})}, 100. / 600},
		{"two images with one each", offer{whole: true}, []plan.Candidate{here([]ore.Package{a, b}, nil), here([]ore.Package{b, c}, nil)}, 200. / 600},
		{"the offer has what is not asked, and it is here", offer{missing: []ore.Package{b, c}, extra: []ore.Package{x}},
			[]plan.Candidate{here([]ore.Package{a, b, c}, []ore.Package{x})}, 100. / 150},
		{"all is here", offer{whole: true}, []plan.Candidate{here(nil, []ore.Package{x})}, 0},
		{"an offer of the base alone", offer{base: true, missing: []ore.Package{a, b, c}}, nil, 1},
	} {
		if got := fresh(test.offer, env, plan.Have{Candidates: test.here}); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", test.summary, got, test.want)
		}
	}
	for share, want := range map[float64]int64{1: 10, 0: 1, 0.25: 3} {
		if got := toFetch(10, share); got != want {
			t.Errorf("%v of 10 bytes: %d, want %d", share, got, want)
		}
	}
}
