package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ore"
	"ore/guest"
)

// Machines whose installation failed end with all others, unless they are to be
// kept: then none ends. The others do their parts before, if the job can do without
// those that failed.
func TestFailedMachinesAreKept(t *testing.T) {
	const text = "machine m1: install: stage scripts: too late"
	for _, c := range []struct {
		summary  string
		kept     func(*Bed) error
		mode     ore.Mode
		ran      int32 // commands
		released int
		want     string
	}{
		{"they are kept", func(*Bed) error { return nil }, ore.Each, 1, 0, text},
		{"they are kept, and the job needs all", func(*Bed) error { return nil }, ore.First, 0, 0, text},
		{"they cannot be kept", func(*Bed) error { return errors.New("no room for a record") }, ore.Each, 1, 1, "no room for a record"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			var ran atomic.Int32
			s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) {
				ran.Add(1)
				return guest.Exit{}, nil
			})
			s.node.failing = map[string]string{"m1": "stage scripts: too late"}
			var bed *Bed
			res, _ := s.installs(t, job(2, func(j *ore.Job) { j.Run.Retries, j.Run.Mode = 3, c.mode }), func(config *Config) {
				config.Memory = func() json.RawMessage { return []byte(`"how"`) }
				config.Kept = func(b *Bed) error { bed = b; return c.kept(b) }
			})
			if res.Kind != ore.Failed || !strings.Contains(res.Error, c.want) || strings.Count(res.Error, text) != 1 || s.node.released != c.released || ran.Load() != c.ran {
				t.Errorf("%s %q, released %d times, %d commands", res.Kind, res.Error, s.node.released, ran.Load())
			}
			if o := s.node.starts[0].Install; !o.Keep || o.Tries != 3 {
				t.Errorf("asked for %+v", o)
			}
			if text, err := bed.Encode(); err != nil || len(bed.Machines) != 2 || !strings.Contains(string(text), `"Memory":"how"`) {
				t.Errorf("%+v: %s, %v", bed.Machines, text, err)
			}
		})
	}
}

// What fails after the installation, before the job's commands, keeps those that failed
// in it all the same.
func TestFailedMachineIsKeptWithoutARun(t *testing.T) {
	for _, c := range []struct {
		change func(*ore.Job)
		want   string
	}{
		{func(j *ore.Job) { j.Run.Publish = []ore.Port{{Listen: "127.0.0.1:0", Port: 80}} }, "this engine cannot do that"},
		{func(j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: "/nowhere"}} }, "inputs of m0"},
	} {
		s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil })
		s.node.failing = map[string]string{"m1": "stage scripts: too late"}
		kept := 0
		res, _ := s.installs(t, job(2, c.change), func(config *Config) {
			config.Kept = func(*Bed) error { kept++; return nil }
		})
		if res.Kind != ore.Failed || !strings.Contains(res.Error, c.want) || strings.Count(res.Error, "too late") != 1 || kept != 1 || s.node.released != 0 {
			t.Errorf("%s %q, kept %d times, released %d times", res.Kind, res.Error, kept, s.node.released)
		}
	}
}

// Tasks are done by the machines that can, and those that failed are kept all the same.
func TestFailedMachineOfAnArrayIsKept(t *testing.T) {
	tasks := filepath.Join(t.TempDir(), "tasks")
	if err := os.WriteFile(tasks, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil })
	s.node.failing = map[string]string{"m1": "stage scripts: too late"}
	kept := 0
	res, _ := s.installs(t, job(2, func(j *ore.Job) { j.Run.Mode, j.Run.Tasks.From = ore.Array, tasks }), func(config *Config) {
		config.Kept = func(*Bed) error { kept++; return nil }
	})
	if res.Kind != ore.Failed || !strings.Contains(res.Error, "too late") || kept != 1 || len(res.Ranks) != 2 || res.Ranks[1].Kind != ore.Finished {
		t.Errorf("%+v, kept %d times", res, kept)
	}
}
