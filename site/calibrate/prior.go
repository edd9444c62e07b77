package calibrate

import (
	"runtime"

	"ore/plan"
)

// Prior is what is taken for a host and for links of which nothing is known, as
// far as something has to be: how long a cache may keep a job waiting. It is what
// two cores of a shared machine have shown, and links of a hundred megabits; so
// that more is given up too early than too late on better ones.
func Prior(links ...string) plan.Calibration {
	c := plan.Calibration{
		Cores: runtime.NumCPU(), Decode: 15e6, Compress: 35e6, Hash: 400e6, Create: 5e3, Process: 1.5e-3,
		Links: map[string]plan.LinkTry{},
	}
	for _, l := range append(links, plan.Mirror) {
		c.Links[l] = plan.LinkTry{Request: 0.02, Rate: 12.5e6}
	}
	return c
}
