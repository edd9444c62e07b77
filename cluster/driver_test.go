package cluster

import (
	"testing"

	"ore"
	"ore/plan"
)

// Times are learned under the name of what starts machines, also where the job
// leaves the choice.
func TestPlanNamesTheDriver(t *testing.T) {
	for _, c := range []struct {
		driver func(Reservation) string
		want   string
	}{
		{nil, "auto"},
		{func(r Reservation) string { return map[int]string{1: "uml", 2: "qemu"}[r.Machines.CPUs] }, "qemu"},
	} {
		s := newSite(nil)
		r := newRun(Config{Images: s.images, Driver: c.driver}, job(1, func(j *ore.Job) { j.Machines.Hypervisor, j.Machines.CPUs = "auto", 2 }))
		if _, err := r.makeImage(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.letGo()
		var start plan.Estimate
		for _, e := range r.plan.Chosen().Stages {
			if e.Stage == plan.Start {
				start = e
			}
		}
		if got := r.plan.Chosen().Start; got != c.want || start.Note != c.want {
			t.Errorf("starts by %q, its stage by %q, want %q", got, start.Note, c.want)
		}
	}
}
