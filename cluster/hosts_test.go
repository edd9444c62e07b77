package cluster

import (
	"context"
	"errors"
	"testing"

	"ore"
	"ore/plan"
)

// A plan is for the hosts where machines will run, if these can be asked.
func TestPlanIsForTheHosts(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{{nil, "start auto@far"}, {errors.New("no answer"), "start auto@here"}} {
		s := newSite(nil)
		r := newRun(Config{Images: s.images, Hosts: func(_ context.Context, r Reservation) ([]plan.Host, error) {
			return []plan.Host{{Name: "far", Machines: r.Machines.Count}}, c.err
		}}, job(4, func(j *ore.Job) { j.Machines.Hypervisor = "auto" }))
		if _, err := r.makeImage(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.letGo()
		stages := r.plan.Chosen().Stages
		if got := stages[len(stages)-1].Branches[0][0].Law; got != c.want {
			t.Errorf("hosts that say %v: machines are predicted by %s, want %s", c.err, got, c.want)
		}
	}
}
