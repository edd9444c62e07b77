package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"ore"
	"ore/cluster/results"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/installing"
)

// Machines whose installation failed end with all others, unless they are to be
// kept: then none ends, and no command is run.
func TestFailedMachinesAreKept(t *testing.T) {
	for _, c := range []struct {
		summary  string
		kept     func(*Bed) error
		released int
		want     string
	}{
		{"nobody wants them", nil, 1, "machine m1: install: stage scripts: too late"},
		{"they are kept", func(*Bed) error { return nil }, 0, "machine m1: install: stage scripts: too late"},
		{"they cannot be kept", func(*Bed) error { return errors.New("no room for a record") }, 1, "no room for a record"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) {
				t.Error("a command was run")
				return guest.Exit{}, nil
			})
			s.node.failing = map[string]string{"m1": "stage scripts: too late"}
			folder, err := results.Create(t.TempDir(), "job")
			if err != nil {
				t.Fatal(err)
			}
			var bed *Bed
			config := Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder, Memory: func() json.RawMessage { return []byte(`"how"`) }}
			config.Install = func(context.Context, image.Manifest, []node.Machine) (*installing.Order, func() error, error) {
				return &installing.Order{}, func() error { return nil }, nil
			}
			if c.kept != nil {
				config.Kept = func(b *Bed) error { bed = b; return c.kept(b) }
			}
			res := Run(t.Context(), config, job(2, func(j *ore.Job) { j.Run.Retries = 3 }))
			if res.Kind != ore.Failed || !strings.Contains(res.Error, c.want) || s.node.released != c.released {
				t.Errorf("%s %q, released %d times", res.Kind, res.Error, s.node.released)
			}
			if o := s.node.starts[0].Install; o.Keep != (c.kept != nil) || o.Tries != 3 {
				t.Errorf("asked for %+v", o)
			}
			if c.kept == nil {
				return
			}
			if text, err := bed.Encode(); err != nil || len(bed.Machines) != 2 || !strings.Contains(string(text), `"Memory":"how"`) {
				t.Errorf("%+v: %s, %v", bed.Machines, text, err)
			}
		})
	}
}
