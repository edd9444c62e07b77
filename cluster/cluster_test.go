package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/cluster/results"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/plan"
)

// site is what jobs of a test run on.
type site struct {
	images *fakeImages
	node   *fakeNode
	engine *fakeEngine
	dir    string // of the last job's results
	learn  func(ore.Timeline, plan.Plan)
	work   []Part
	stdin  io.Reader
}

func newSite(p program) *site {
	n := &fakeNode{run: p, machines: map[string]*fakeMachine{}}
	return &site{
		images: &fakeImages{known: []string{"hello"}, kept: map[ore.Key]image.Manifest{}},
		node:   n, engine: &fakeEngine{node: n},
	}
}

// run runs j, whose machines must be released once whatever happens.
func (s *site) run(ctx context.Context, t *testing.T, j ore.Job) ore.Result {
	t.Helper()
	folder, err := results.Create(t.TempDir(), "job")
	if err != nil {
		t.Fatal(err)
	}
	s.dir = folder.Dir()
	before := s.node.released
	res := Run(ctx, Config{ID: "job", Images: s.images, Engine: s.engine, Results: folder, Learn: s.learn, Work: s.work, Stdin: s.stdin}, j)
	if s.engine.err == nil && s.node.released != before+1 {
		t.Errorf("released %d times", s.node.released-before)
	}
	return res
}

func job(n int, change func(*ore.Job)) ore.Job {
	j := ore.Job{
		Name: "job", Wants: ore.Wants{Packages: []ore.Wish{{Name: "hello"}}},
		Machines: ore.Machines{Count: n, Resources: ore.Resources{CPUs: 1, Memory: 256 << 20}},
		Run:      ore.Run{Command: []string{"x"}, Mode: ore.Each},
	}
	if change != nil {
		change(&j)
	}
	return j
}

// variable reads one of a command's environment.
func variable(c guest.Command, name string) string {
	for _, e := range c.Env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

func TestRunEach(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, []byte("given"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
		fmt.Fprintf(c.Stdout, "rank %s of %s", variable(c, "ORE_RANK"), variable(c, "ORE_SIZE"))
		fmt.Fprintf(c.Stderr, "err %s", m.name)
		m.write("/job/out", m.read("/job/in")+" "+m.name)
		return guest.Exit{Code: int(m.name[1] - '0')}, nil
	})
	learned := false
	s.learn = func(ore.Timeline, plan.Plan) { learned = true }
	j := job(3, func(j *ore.Job) { j.Run.Inputs, j.Run.Outputs = []ore.Input{{Source: in}}, []string{"o*"} })
	res := s.run(t.Context(), t, j)
	if res.Kind != ore.Finished || res.ExitCode != 2 || res.Error != "" || len(res.Ranks) != 3 || !learned {
		t.Errorf("%+v", res)
	}
	for rank, want := range []string{"given m0", "given m1", "given m2"} {
		dir := filepath.Join(s.dir, fmt.Sprint(rank))
		for name, content := range map[string]string{"out": want, "stdout": fmt.Sprintf("rank %d of 3", rank), "stderr": fmt.Sprintf("err m%d", rank)} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != content {
				t.Errorf("rank %d: %s: %q, %v", rank, name, b, err)
			}
		}
		if r := res.Ranks[rank]; r.Rank != rank || r.ExitCode != rank || !slices.Equal(r.Outputs, []string{"out"}) {
			t.Errorf("rank %d: %+v", rank, r)
		}
	}
	if again := s.run(t.Context(), t, j); again.Image != res.Image || s.images.made != 1 {
		t.Errorf("made %d images for one environment", s.images.made)
	}
}

// What is mounted is made once, reaches the machines by its blob, also one that
// is started again and those of a bed that grows, and is not copied into them.
func TestMountedInputs(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, []byte("given"), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := false
	var s *site
	s = newSite(func(_ context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
		if m.read("/job/in") != "given" || m.read("/job/db") != "" || s.images.held.Load() != 1 {
			return guest.Exit{Code: 1}, nil
		}
		if !lost {
			lost = true
			return guest.Exit{}, errors.New("lost")
		}
		return guest.Exit{}, nil
	})
	inputs := func(j *ore.Job) {
		j.Run.Retries, j.Run.Inputs = 1, []ore.Input{{Source: in}, {Source: "/some/db", Mount: "/data/db"}}
	}
	res := s.run(t.Context(), t, job(1, inputs))
	want := []node.Input{{Digest: ore.DigestOf([]byte("/some/db")), Path: "/data/db"}}
	if res.Kind != ore.Finished || res.ExitCode != 0 || len(s.node.starts) != 2 || s.engine.mounts != 1 {
		t.Fatalf("%+v, %d starts, %d mounts reserved", res, len(s.node.starts), s.engine.mounts)
	}
	for i, start := range s.node.starts {
		if !slices.Equal(start.Inputs, want) {
			t.Errorf("start %d mounts %+v", i, start.Inputs)
		}
	}
	if !slices.ContainsFunc(res.Timeline, func(s ore.Stage) bool { return s.Name == "inputs" }) {
		t.Errorf("no stage tells how long making inputs took: %+v", res.Timeline)
	}
	s = newSite(nil)
	bed, err := Up(t.Context(), Config{ID: "bed", Images: s.images, Engine: s.engine}, job(1, inputs))
	if err != nil || !slices.Equal(bed.more.Inputs, want) || !slices.Equal(bed.more.Copies, []string{in}) {
		t.Errorf("a bed gives its machines %+v, %v", bed, err)
	}
	if n := s.images.held.Load(); n != 0 {
		t.Errorf("%d inputs are held after machines have them", n)
	}
	s = newSite(nil)
	res = s.run(t.Context(), t, job(1, func(j *ore.Job) {
		j.Run.Inputs = []ore.Input{{Source: "/some/db", Mount: "/e"}, {Source: "/nowhere/db", Mount: "/d"}}
	}))
	if n := s.images.held.Load(); n != 0 || res.Kind != ore.Failed || !strings.Contains(res.Error, "input /nowhere/db: no such file") {
		t.Errorf("%d held, %+v", n, res)
	}
}

func TestRunFirst(t *testing.T) {
	var mu sync.Mutex
	var ran []string
	s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, m.name+" "+variable(c, "ORE_HOSTS"))
		return guest.Exit{}, nil
	})
	res := s.run(t.Context(), t, job(3, func(j *ore.Job) { j.Run.Mode = ore.First }))
	if res.Kind != ore.Finished || !slices.Equal(ran, []string{"m0 m0,m1,m2"}) || len(s.node.machines) != 3 {
		t.Errorf("%+v: ran %q on %d machines", res, ran, len(s.node.machines))
	}
}

func TestRunArray(t *testing.T) {
	list := filepath.Join(t.TempDir(), "tasks")
	if err := os.WriteFile(list, []byte("a\n\nb\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
		m.write(c.Dir+"/out", variable(c, "ORE_TASK"))
		if variable(c, "ORE_TASK") == "b" {
			return guest.Exit{Code: 9}, nil
		}
		return guest.Exit{}, nil
	})
	res := s.run(t.Context(), t, job(2, func(j *ore.Job) {
		j.Run.Mode, j.Run.Tasks, j.Run.Outputs = ore.Array, ore.Tasks{From: list}, []string{"out"}
	}))
	if res.ExitCode != 9 || len(res.Ranks) != 3 {
		t.Fatalf("%+v", res)
	}
	for i, task := range []string{"a", "b", "c"} {
		b, err := os.ReadFile(filepath.Join(s.dir, fmt.Sprintf("task-%d", i), "out"))
		if err != nil || string(b) != task || res.Ranks[i].Task != task {
			t.Errorf("task %d: %q, %v, %+v", i, b, err, res.Ranks[i])
		}
	}
}

// The system's failures are not the job's, and the other way round.
func TestFailures(t *testing.T) {
	lost := errors.New("machine m1 is lost")
	ok := func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil }
	for _, c := range []struct {
		summary string
		change  func(*site, *ore.Job)
		kind    ore.Kind
		code    int
		error   string
	}{
		{"an unknown package", func(_ *site, j *ore.Job) { j.Wants.Packages[0].Name = "no" }, ore.Failed, 125, "package no: not known"},
		{"no hosts", func(s *site, _ *ore.Job) { s.engine.err = errors.New("no hosts") }, ore.Failed, 125, "no hosts"},
		{"a machine that does not start", func(s *site, _ *ore.Job) { s.node.refuse = "m1" }, ore.Failed, 125, "machine m1: boot: no answer"},
		{"a machine that is lost", func(s *site, _ *ore.Job) {
			s.node.run = func(_ context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
				if m.name == "m1" {
					m.console = "last words\n"
					return guest.Exit{}, lost
				}
				return guest.Exit{}, nil
			}
		}, ore.Failed, 125, "machine m1 is lost\n  the end of its console:\n    last words"},
		{"a job's own 125", func(s *site, _ *ore.Job) {
			s.node.run = func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) {
				return guest.Exit{Code: 125}, nil
			}
		}, ore.Finished, 125, ""},
		{"an input that is gone", func(_ *site, j *ore.Job) { j.Run.Inputs = []ore.Input{{Source: "/nowhere/at/all"}} }, ore.Failed, 125, "inputs of m"},
		{"a port of no machine", func(_ *site, j *ore.Job) { j.Run.Publish = []ore.Port{{Listen: "127.0.0.1:0", Rank: 7}} }, ore.Failed, 125, "there is no rank 7"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			s, j := newSite(ok), job(2, nil)
			c.change(s, &j)
			res := s.run(t.Context(), t, j)
			if res.Kind != c.kind || res.ExitCode != c.code || !strings.Contains(res.Error, c.error) {
				t.Errorf("%+v", res)
			}
		})
	}
}

// What a command ended with is told though its outputs could not be brought home.
func TestRefusedOutputKeepsTheExitCode(t *testing.T) {
	s := newSite(func(_ context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
		m.write(path.Join(JobDir, "evil.tsv"), linkTo+"/etc/shadow")
		return guest.Exit{Code: 3}, nil
	})
	res := s.run(t.Context(), t, job(1, func(j *ore.Job) { j.Run.Outputs = []string{"*.tsv"} }))
	if res.Kind != ore.Failed || res.ExitCode != ore.ExitFailed {
		t.Errorf("the job: %s, exit code %d", res.Kind, res.ExitCode)
	}
	if p := res.Ranks[0]; p.Kind != ore.Failed || p.ExitCode != 3 || !strings.Contains(p.Error, "evil.tsv") {
		t.Errorf("its rank: %s, exit code %d, %q", p.Kind, p.ExitCode, p.Error)
	}
}

// An array without tasks is refused before anything is reserved.
func TestPartsRefuseAnEmptyArray(t *testing.T) {
	_, err := Parts(job(2, func(j *ore.Job) { j.Run.Mode, j.Run.Tasks.Glob = ore.Array, "/nowhere/*" }))
	if err == nil || !strings.Contains(err.Error(), "there are none, so nothing would run: give at least one") {
		t.Errorf("%v", err)
	}
}

func TestRetriesUseAFreshMachine(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, []byte("given"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		retries int
		kind    ore.Kind
		lives   int
		advice  string
	}{
		{0, ore.Failed, 1, "machine m0 is lost: gone: 'ore run --retries' has"},
		{1, ore.Failed, 2, "machine m0 is lost: gone: so it was at each of 2 tries: "}, {2, ore.Finished, 3, ""},
	} {
		s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
			if m.read("/job/in") != "given" || m.read("/job/dirt") != "" {
				return guest.Exit{Code: 1}, nil
			}
			m.write("/job/dirt", "left by a try")
			if m.lives < 3 {
				return guest.Exit{}, &node.LostError{Machine: m.name, Cause: errors.New("gone")}
			}
			return guest.Exit{}, nil
		})
		res := s.run(t.Context(), t, job(1, func(j *ore.Job) { j.Run.Retries, j.Run.Inputs = c.retries, []ore.Input{{Source: in}} }))
		if !strings.Contains(res.Error, c.advice) || res.Kind != c.kind || s.node.machines["m0"].lives != c.lives || c.kind == ore.Finished && res.ExitCode != 0 {
			t.Errorf("%d retries: %+v, %d lives", c.retries, res, s.node.machines["m0"].lives)
		}
	}
}

// untilEnd is a command that runs until it is told to end.
func untilEnd(begun chan<- string) program {
	return func(ctx context.Context, m *fakeMachine, _ guest.Command) (guest.Exit, error) {
		if begun != nil {
			begun <- m.name
		}
		<-ctx.Done()
		return guest.Exit{Code: 143, Signal: "SIGTERM"}, context.Cause(ctx)
	}
}

func TestTimeLimit(t *testing.T) {
	s := newSite(untilEnd(nil))
	res := s.run(t.Context(), t, job(2, func(j *ore.Job) { j.Run.Timeout = time.Millisecond }))
	if res.Kind != ore.TimedOut || res.ExitCode != ore.ExitTimeout || !strings.Contains(res.Error, "raise run.timeout") {
		t.Errorf("%+v", res)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan string, 2)
	s := newSite(untilEnd(begun))
	go func() {
		<-begun
		<-begun
		cancel()
	}()
	res := s.run(ctx, t, job(2, nil))
	if res.Kind != ore.Cancelled || res.ExitCode != ore.ExitCancelled || len(res.Ranks) != 2 || res.Ranks[1].Kind != ore.Cancelled {
		t.Errorf("%+v", res)
	}
}

// Want of memory is told of the task that met it, and of no other.
func TestStarvedTaskIsNamed(t *testing.T) {
	list := filepath.Join(t.TempDir(), "tasks")
	if err := os.WriteFile(list, []byte("good\nbad\ngood\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(func(_ context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error) {
		if variable(c, "ORE_TASK") == "bad" {
			m.console = "[ 1.2] Out of memory: Killed process 77 (tail) total-vm:1kB\n"
		}
		return guest.Exit{}, nil
	})
	res := s.run(t.Context(), t, job(1, func(j *ore.Job) { j.Run.Mode, j.Run.Tasks = ore.Array, ore.Tasks{From: list} }))
	for i, want := range []string{"", "machine m0: out of memory: its kernel killed tail: give machines more memory than 256 MiB", ""} {
		if got := res.Ranks[i].Error; got != want || res.Ranks[i].Kind != ore.Finished {
			t.Errorf("task %d: %q, want %q", i, got, want)
		}
	}
}

func TestUpKeepsMachinesOrLeavesNone(t *testing.T) {
	s := newSite(nil)
	c := Config{ID: "bed", Images: s.images, Engine: s.engine}
	bed, err := Up(t.Context(), c, job(2, nil))
	if err != nil || len(bed.Machines) != 2 || s.node.released != 0 {
		t.Fatalf("%+v, %v, released %d times", bed, err, s.node.released)
	}
	text, err := bed.Encode()
	if err != nil || !bytes.Contains(text, []byte(`"m1"`)) {
		t.Errorf("%s, %v", text, err)
	}
	if secret := s.node.starts[0].Secret; len(secret) == 0 || bytes.Contains(text, []byte(base64.StdEncoding.EncodeToString(secret))) {
		t.Errorf("a secret of %d bytes, to be written to the disk: %s", len(secret), text)
	}
	if err := bed.Release(t.Context()); err != nil || s.node.released != 1 {
		t.Errorf("%v, released %d times", err, s.node.released)
	}
	s = newSite(nil)
	s.node.refuse = "m1"
	var se *node.StartError
	if _, err := Up(t.Context(), Config{ID: "bed", Images: s.images, Engine: s.engine}, job(2, nil)); !errors.As(err, &se) || s.node.released != 1 {
		t.Errorf("%v, released %d times", err, s.node.released)
	}
}

// A list that comes through a pipe can be read once, by whoever looks whether
// there is any work.
func TestTasksFromAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		if f, err := os.OpenFile(pipe, os.O_WRONLY, 0); err == nil {
			fmt.Fprint(f, "a\nb\n")
			f.Close()
		}
	}()
	j := job(1, func(j *ore.Job) { j.Run.Mode, j.Run.Tasks.From = ore.Array, pipe })
	work, err := Parts(j)
	if err != nil || len(work) != 2 {
		t.Fatalf("%d parts, %v", len(work), err)
	}
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	s := newSite(func(context.Context, *fakeMachine, guest.Command) (guest.Exit, error) { return guest.Exit{}, nil })
	s.work = work
	if res := s.run(t.Context(), t, j); res.Kind != ore.Finished || len(res.Ranks) != 2 {
		t.Errorf("%+v", res)
	}
}

// A secret that comes through a pipe reaches every machine.
func TestSecretFromAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fmt.Fprint(w, "word")
	w.Close()
	s := newSite(func(_ context.Context, _ *fakeMachine, c guest.Command) (guest.Exit, error) {
		if string(c.Secrets["TOKEN"]) != "word" {
			return guest.Exit{Code: 1}, nil
		}
		return guest.Exit{}, nil
	})
	res := s.run(t.Context(), t, job(3, func(j *ore.Job) {
		j.Run.Secrets = map[string]ore.Secret{"TOKEN": {File: fmt.Sprintf("/proc/self/fd/%d", r.Fd())}}
	}))
	if res.Kind != ore.Finished || res.ExitCode != 0 {
		t.Errorf("%+v", res)
	}
}

func TestStdin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(file, []byte("skipped.given"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() io.Reader {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if _, err := f.Seek(8, io.SeekStart); err != nil { // its reader began elsewhere
			t.Fatal(err)
		}
		return f
	}
	for _, c := range []struct {
		summary string
		from    io.Reader
		change  func(*ore.Job)
		losses  int
		kind    ore.Kind
		words   string
		said    string
	}{
		{"one machine", strings.NewReader("given"), nil, 0, ore.Finished, "", "given"},
		{"rank 0 of several", strings.NewReader("given"), func(j *ore.Job) { j.Machines.Count, j.Run.Mode = 2, ore.First }, 0, ore.Finished, "", "given"},
		{"several have none", strings.NewReader("given"), func(j *ore.Job) { j.Machines.Count = 2 }, 0, ore.Finished, "", "none"},
		{"a file is read again on a fresh machine", open(), func(j *ore.Job) { j.Run.Retries = 1 }, 1, ore.Finished, "", "given"},
		{"a pipe cannot be", io.MultiReader(strings.NewReader("given")), func(j *ore.Job) { j.Run.Retries = 1 }, 1, ore.Failed,
			"5 bytes of the standard input are read and gone: give it as a file", ""},
	} {
		t.Run(c.summary, func(t *testing.T) {
			losses := c.losses
			s := newSite(func(_ context.Context, _ *fakeMachine, cmd guest.Command) (guest.Exit, error) {
				said := "none"
				if cmd.Stdin != nil {
					b, err := io.ReadAll(cmd.Stdin)
					if err != nil {
						return guest.Exit{}, err
					}
					said = string(b)
				}
				if losses > 0 {
					losses--
					return guest.Exit{}, errors.New("the machine is lost")
				}
				io.WriteString(cmd.Stdout, said)
				return guest.Exit{}, nil
			})
			s.stdin = c.from
			res := s.run(t.Context(), t, job(1, c.change))
			if res.Kind != c.kind || !strings.Contains(res.Error, c.words) {
				t.Errorf("%+v", res)
			}
			if b, _ := os.ReadFile(filepath.Join(s.dir, "0", "stdout")); string(b) != c.said {
				t.Errorf("the job read %q, want %q", b, c.said)
			}
		})
	}
}
