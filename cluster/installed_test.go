package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/cluster/results"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/installing"
)

// Who wants to know hears of each machine that has installed itself, also of one that
// was lost and did so again, and can reach it until what Install kept is released.
func TestInstalledMachinesAreTold(t *testing.T) {
	for _, installs := range []bool{true, false} {
		s := newSite(func(_ context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
			if m.name == "m1" && m.lives == 1 {
				return guest.Exit{}, &node.LostError{Machine: m.name, Cause: errors.New("gone")}
			}
			return guest.Exit{}, nil
		})
		folder, err := results.Create(t.TempDir(), "job")
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		config := Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder, Installed: func(n Node, machine string) {
			if n != s.node {
				t.Errorf("%s is on %v", machine, n)
			}
			told = append(told, machine)
		}}
		if installs {
			config.Install = func(context.Context, image.Manifest, []node.Machine) (*installing.Order, func() error, error) {
				return &installing.Order{}, func() error {
					if s.node.released > 0 {
						t.Error("the machines have ended before")
					}
					return nil
				}, nil
			}
		}
		res := Run(t.Context(), config, job(2, func(j *ore.Job) { j.Run.Retries = 1 }))
		slices.Sort(told)
		want := []string{"m0", "m1", "m1"}
		if !installs {
			want = nil
		}
		if res.Kind != ore.Finished || !slices.Equal(told, want) {
			t.Errorf("installs %v: %s %s, told of %q", installs, res.Kind, res.Error, told)
		}
	}
}

// Who cancels while what machines installed is still read changes nothing of what came
// of the job, however its parts ended.
func TestCancelAfterAllParts(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := newSite(func(_ context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
			if lost {
				return guest.Exit{}, &node.LostError{Machine: m.name, Cause: errors.New("gone")}
			}
			return guest.Exit{}, nil
		})
		folder, err := results.Create(t.TempDir(), "job")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		config := Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder}
		config.Install = func(context.Context, image.Manifest, []node.Machine) (*installing.Order, func() error, error) {
			return &installing.Order{}, func() error { cancel(); return nil }, nil
		}
		res := Run(ctx, config, job(1, nil))
		if want := map[bool]ore.Kind{false: ore.Finished, true: ore.Failed}[lost]; res.Kind != want || lost && !strings.Contains(res.Error, "gone") {
			t.Errorf("lost %v: %s %q", lost, res.Kind, res.Error)
		}
	}
}
