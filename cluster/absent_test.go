package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/cluster/results"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/installing"
)

// installs runs j on machines that install themselves, and returns what is told.
func (s *site) installs(t *testing.T, j ore.Job, change func(*Config)) (res ore.Result, notes []string) {
	t.Helper()
	folder, err := results.Create(t.TempDir(), "job")
	if err != nil {
		t.Fatal(err)
	}
	s.dir = folder.Dir()
	c := Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder, Watch: func(e ore.Event) {
		if e.Stage == "note" {
			notes = append(notes, e.Text)
		}
	}}
	c.Install = func(context.Context, image.Manifest, []node.Machine) (*installing.Order, func() error, error) {
		return &installing.Order{}, func() error { return nil }, nil
	}
	if change != nil {
		change(&c)
	}
	return Run(t.Context(), c, j), notes
}

// A machine that cannot install itself costs the job its own rank: the others run, and
// what they made comes home.
func TestMachineThatDoesNotInstallItself(t *testing.T) {
	for _, c := range []struct {
		retries int
		begun   int // how often the machine began
		lasting bool
		want    string
	}{
		{0, 1, true, "every other try would end so: change the job first"},
		{2, 1, true, "every other try would end so: change the job first"},
		{0, 1, false, "'ore run --retries' tries it again, at last on a blank disk"},
		{2, 2, false, "so it was again on a blank disk: see what the machine's console says last"},
		{2, 1, false, "it did not begin anew on a blank disk: see what the machine's console says last"}, // there was no time left
	} {
		s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
			fmt.Fprintf(c.Stdout, "of %s", m.name)
			m.write("/job/out", m.name)
			return guest.Exit{}, nil
		})
		s.node.losing = map[string]string{"m1": "install: stage scripts: step db: exit status 1; the output ends with:\nno such table"}
		s.node.begun, s.node.lasting = c.begun, c.lasting
		const lost = "machine m1 is lost: install: stage scripts: step db: exit status 1; the output ends with:\nno such table\nwhat to do about machine m1: "
		res, notes := s.installs(t, job(3, func(j *ore.Job) { j.Run.Outputs, j.Run.Retries = []string{"o*"}, c.retries }), nil)
		if res.Kind != ore.Failed || res.ExitCode != ore.ExitFailed || len(res.Ranks) != 3 || res.Error != lost+c.want || strings.Count(res.Error, "step db") != 1 {
			t.Errorf("%+v", res)
		}
		if o := s.node.starts[0].Install; !o.Apart || o.Tries != c.retries || len(s.node.starts) != 1 {
			t.Errorf("asked %d times, first for %+v", len(s.node.starts), o)
		}
		for i, want := range []ore.Kind{ore.Finished, ore.Failed, ore.Finished} {
			r := res.Ranks[i]
			out, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprint(i), "stdout"))
			if r.Kind != want || r.Machine != MachineName(i) || err != nil || (len(out) > 0) != (want == ore.Finished) || len(r.Outputs) != len(out)/len("of m0") {
				t.Errorf("rank %d: %+v, %q, %v", i, r, out, err)
			}
		}
		if len(notes) != 1 || notes[0] != "machine m1: install: stage scripts: step db: exit status 1: the others go on without it" {
			t.Errorf("told %q", notes)
		}
		if stage := res.Timeline; len(stage) == 0 || s.node.released != 1 {
			t.Errorf("%v, released %d times", stage, s.node.released)
		}
	}
}

// A job that needs no machine for itself is done by the others; one that needs all
// machines at once is not begun, nor one that has none.
func TestWhoGoesOnWithoutAMachine(t *testing.T) {
	tasks := filepath.Join(t.TempDir(), "tasks")
	if err := os.WriteFile(tasks, []byte("a\nb\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	array := func(j *ore.Job) { j.Run.Mode, j.Run.Tasks.From = ore.Array, tasks }
	one, all := map[string]string{"m1": "install: no"}, map[string]string{"m0": "install: no", "m1": "install: no"}
	for _, c := range []struct {
		summary string
		losing  map[string]string
		change  func(*ore.Job)
		kind    ore.Kind
		want    string // the error
		ranks   int
	}{
		{"tasks", one, array, ore.Finished, "", 3},
		{"tasks, and no machine", all, array, ore.Failed, "start machines: machine m0 is lost: install: no", 0},
		{"ranks, and no machine", all, nil, ore.Failed, "machine m1 is lost: install: no", 0},
	} {
		s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil })
		s.node.losing = c.losing
		res, _ := s.installs(t, job(2, c.change), nil)
		if res.Kind != c.kind || !strings.Contains(res.Error, c.want) || len(res.Ranks) != c.ranks || s.node.released != 1 {
			t.Errorf("%s: %+v", c.summary, res)
		}
	}
	s := newSite(nil)
	s.node.refuse = "m1"
	res, _ := s.installs(t, job(2, func(j *ore.Job) { j.Run.Mode = ore.First }), nil)
	if res.Kind != ore.Failed || !strings.HasPrefix(res.Error, "start machines, which mode first needs all at once: machine m1: ") || s.node.starts[0].Install.Apart {
		t.Errorf("%+v, asked for %+v", res, s.node.starts[0].Install)
	}
}

// A port of a machine that is lost is not published, and the others' are.
func TestPortOfALostMachine(t *testing.T) {
	s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil })
	s.node.losing = map[string]string{"m1": "install: no"}
	res, notes := s.installs(t, job(2, func(j *ore.Job) { j.Run.Publish = []ore.Port{{Listen: "127.0.0.1:8080", Rank: 1, Port: 80}} }), nil)
	if res.Ranks == nil || res.Ranks[0].Kind != ore.Finished || !strings.Contains(strings.Join(notes, "\n"), "port 127.0.0.1:8080 is not published: its machine is lost") {
		t.Errorf("%+v, told %q", res, notes)
	}
}

// A machine that was lost at its work, and cannot install itself in its place, says so.
func TestPlaceOfALostMachine(t *testing.T) {
	s := newSite(nil)
	s.node.run = func(_ context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
		if m.name == "m0" {
			return guest.Exit{}, nil
		}
		s.node.mu.Lock()
		defer s.node.mu.Unlock()
		s.node.losing = map[string]string{"m1": "install: no"}
		return guest.Exit{}, &node.LostError{Machine: m.name, Cause: fmt.Errorf("out of memory")}
	}
	res, _ := s.installs(t, job(2, func(j *ore.Job) { j.Run.Retries = 1 }), nil)
	if res.Kind != ore.Failed || !strings.Contains(res.Error, "out of memory") || !strings.Contains(res.Error, "machine m1 is lost: install: no") || res.Ranks[0].Kind != ore.Finished {
		t.Errorf("%+v", res)
	}
}

func TestBrief(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"stage format: mkfs: no room", "stage format: mkfs: no room"},
		{"stage scripts: step db: exit status 1; the output ends with:\nno such table", "stage scripts: step db: exit status 1"},
		{"stage configure: grub-install: exit status 1: its output ends with:\n/dev/vda", "stage configure: grub-install: exit status 1"},
		{"boot: it said nothing\n  the end of its console:\n    panic", "boot: it said nothing"},
		{"why:\n", "why"},
		{"", ""},
	} {
		if got := brief(c.said); got != c.want {
			t.Errorf("%q is told as %q, not as %q", c.said, got, c.want)
		}
	}
}
