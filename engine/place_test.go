package engine

import (
	"slices"
	"testing"

	"ore"
)

func TestDeal(t *testing.T) {
	const mib = 1 << 20
	two := Place{Cores: 2, Free: 4096 * mib}
	with := func(change func(*Place)) Place {
		p := two
		change(&p)
		return p
	}
	lacking := with(func(p *Place) { p.Lacking = 2 })
	for name, c := range map[string]struct {
		count, cpus int
		places      []Place
		want        []int // nil for none
	}{
		"evenly":                             {8, 1, []Place{two, two, two, two}, []int{2, 2, 2, 2}},
		"beyond the cores":                   {5, 1, []Place{two, two}, []int{3, 2}},
		"by cores":                           {6, 1, []Place{{Cores: 4, Free: two.Free}, two}, []int{4, 2}},
		"those that have the layers":         {2, 1, []Place{lacking, two}, []int{0, 2}},
		"others before two on one core":      {4, 1, []Place{lacking, two}, []int{2, 2}},
		"a busy host gets less":              {2, 1, []Place{with(func(p *Place) { p.Load = 3 }), two}, []int{0, 2}},
		"equal loads say nothing":            {4, 1, []Place{with(func(p *Place) { p.Load = 20 }), with(func(p *Place) { p.Load = 22 })}, []int{2, 2}},
		"none on a host that failed":         {3, 1, []Place{two, with(func(p *Place) { p.Blamed = true })}, []int{3, 0}},
		"what fits into the memory":          {3, 1, []Place{with(func(p *Place) { p.Free = 300 * mib }), two}, []int{1, 2}},
		"more than the memory of all":        {3, 1, []Place{with(func(p *Place) { p.Free = 600 * mib })}, nil},
		"two cores each":                     {2, 2, []Place{two, two}, []int{1, 1}},
		"a host without a known core counts": {1, 1, []Place{{Free: two.Free}}, []int{1}},
		"no hosts":                           {1, 1, nil, nil},
	} {
		got, err := Deal(ore.Machines{Count: c.count, Resources: ore.Resources{CPUs: c.cpus, Memory: 256 * mib}}, c.places)
		if (err != nil) != (c.want == nil) || err == nil && !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
	}
}
