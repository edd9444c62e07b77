package node

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/boot"
	"ore/guest"
	"ore/guest/inside"
	"ore/image"
	"ore/vm"
	"ore/vm/vmtest"
)

// TestMain lets the test binary be what serves in a machine of the Fake.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		if err := serve(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve is what ore-init does, without a machine around it.
func serve(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err != nil {
		return err
	}
	var id guest.Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return err
	}
	const homeFD = 3
	if err := syscall.SetNonblock(homeFD, true); err != nil {
		return err
	}
	syscall.CloseOnExec(homeFD)
	layout := inside.Layout{Job: filepath.Join(dir, "job"), Run: filepath.Join(dir, "run")}
	return inside.Serve(context.Background(), os.NewFile(homeFD, "home"), id, layout)
}

// bench is a node with fake machines, which really run commands as local
// processes, and a client that reaches it over its socket.
type bench struct {
	*Client
	node *Node
	dir  string // the job's folder
	disk string

	mu     sync.Mutex // guards broken
	broken string     // the machine that does not start
}

// pid is the number of the process that is a machine.
func (b *bench) pid(t *testing.T, machine string) int {
	t.Helper()
	m, err := b.node.lookup(machine)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := m.vm.(interface{ Pid() int })
	if !ok {
		t.Fatalf("machine %s: a %T has no process", machine, m.vm)
	}
	return p.Pid()
}

// breakMachine has a machine not come up from now on, "" for none.
func (b *bench) breakMachine(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = name
}

func newBench(t *testing.T) *bench {
	t.Helper()
	store, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{dir: t.TempDir(), disk: filepath.Join(t.TempDir(), "disk")}
	if err := os.WriteFile(b.disk, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	fake := &vmtest.Fake{Command: func(c vm.Config) *exec.Cmd { return b.command(t, c) }}
	b.node = New(Config{Dir: b.dir, Store: store, Hypervisor: func(Boot) (vm.Hypervisor, error) { return fake, nil }})
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: b.node.Handler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	b.Client = NewClient(socket)
	t.Cleanup(func() {
		if err := b.node.Release(); err != nil {
			t.Errorf("release: %v", err)
		}
		b.Close()
		server.Close()
		<-served
		if left, err := os.ReadDir(b.dir); err != nil || len(left) > 0 {
			t.Errorf("left in the job's folder: %v, %v", left, err)
		}
	})
	return b
}

// command stands for a machine: it unpacks the identity that the machine would
// find in its initramfs, and serves.
func (b *bench) command(t *testing.T, c vm.Config) *exec.Cmd {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Name == b.broken {
		return exec.Command("/bin/sh", "-c", "echo the kernel says goodbye; exit 1")
	}
	dir := filepath.Join(c.Dir, "fake")
	for _, d := range []string{"job", "run"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Error(err)
		}
	}
	entries, err := boot.ReadCPIO(bytes.NewReader(c.Extra))
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if filepath.Base(e.Path) == "identity.json" {
			if err := os.WriteFile(filepath.Join(dir, "identity.json"), e.Data, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Error(err)
	}
	return exec.Command(program, "serve", dir)
}

func (b *bench) ask(names ...string) Start {
	s := Start{
		Job: "job", Network: ore.Isolated, Boot: Boot{Disk: b.disk, Kernel: b.disk, Initrd: b.disk}, Size: len(names),
		Resources: ore.Resources{CPUs: 1, Memory: 64 << 20, Disk: 4096},
	}
	for i, n := range names {
		s.Hosts = append(s.Hosts, n)
		s.Machines = append(s.Machines, Machine{Name: n, Rank: i})
	}
	return s
}

func (b *bench) shell(t *testing.T, machine, script string) (string, guest.Exit, error) {
	t.Helper()
	var out bytes.Buffer
	exit, err := b.Exec(t.Context(), machine, guest.Command{Args: []string{"/bin/sh", "-c", script}, Stdout: &out})
	return out.String(), exit, err
}

func TestLifeOfAJob(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	booted := map[string]bool{}
	started, err := b.Start(t.Context(), b.ask("m0", "m1"), func(e ore.Event) {
		mu.Lock()
		defer mu.Unlock()
		booted[e.Machine] = e.Final
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(started) != 2 || started[1].Name != "m1" || started[1].IP == started[0].IP || !booted["m0"] || !booted["m1"] {
		t.Errorf("started %+v, events %v", started, booted)
	}
	out, exit, err := b.shell(t, "m1", "echo $ORE_RANK of $ORE_SIZE: $ORE_HOSTS; exit 3")
	if err != nil || exit.Code != 3 || out != "1 of 2: m0,m1\n" {
		t.Errorf("exec: %q, %+v, %v", out, exit, err)
	}
	more, err := b.Start(t.Context(), b.ask("m0", "m1", "m2").only("m2"), nil)
	if err != nil || len(more) != 1 || more[0].Name != "m2" {
		t.Errorf("grow: %+v, %v", more, err)
	}
	if all, err := b.Machines(t.Context()); err != nil || len(all) != 3 {
		t.Errorf("machines %+v, %v", all, err)
	}
	if err := b.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
	<-b.node.Released()
	if _, err := b.Start(t.Context(), b.ask("m0"), nil); err == nil {
		t.Error("a machine was started after the release")
	}
}

// Two who add machines at once do not take each other's away, and the job has as
// many as the larger number says.
func TestGrowAtOnce(t *testing.T) {
	b := newBench(t)
	if _, err := b.Start(t.Context(), b.ask("m0"), nil); err != nil {
		t.Fatal(err)
	}
	pid := b.pid(t, "m0")
	var mu sync.Mutex
	booted := map[string]int{}
	var both sync.WaitGroup
	for _, names := range [][]string{{"m0", "m1", "m2", "m3"}, {"m0", "m1", "m2"}} {
		s := b.ask(names...)
		s.Grow = true
		both.Go(func() {
			started, err := b.Start(t.Context(), s, nil)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, m := range started {
				booted[m.Name]++
			}
		})
	}
	both.Wait()
	if len(booted) != 3 || booted["m1"] != 1 || booted["m2"] != 1 || booted["m3"] != 1 {
		t.Errorf("booted: %v", booted)
	}
	if b.pid(t, "m0") != pid {
		t.Error("a machine that ran was replaced")
	}
	all, err := b.Machines(t.Context())
	if err != nil || len(all) != 4 {
		t.Fatalf("%+v, %v", all, err)
	}
	run := filepath.Join(b.dir, machineFolder+"m0", "fake", "run")
	for file, want := range map[string]string{
		"hosts": "m0\nm1\nm2\nm3\n", "hosts.mpich": "m0:1\nm1:1\nm2:1\nm3:1\n",
		"hosts.openmpi": "m0 slots=1\nm1 slots=1\nm2 slots=1\nm3 slots=1\n",
	} {
		if got, err := os.ReadFile(filepath.Join(run, file)); err != nil || string(got) != want {
			t.Errorf("%s of the first machine: %q, %v", file, got, err)
		}
	}
	if out, _, err := b.shell(t, "m0", "echo $ORE_SIZE $ORE_HOSTS"); err != nil || out != "4 m0,m1,m2,m3\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// only keeps of the machines asked for the one called name.
func (s Start) only(name string) Start {
	for _, m := range s.Machines {
		if m.Name == name {
			s.Machines = []Machine{m}
		}
	}
	return s
}

func TestFilesGoBothWays(t *testing.T) {
	b := newBench(t)
	if _, err := b.Start(t.Context(), b.ask("m0"), nil); err != nil {
		t.Fatal(err)
	}
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	if err := w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 5, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := b.Put(t.Context(), "m0", dir, &in); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := b.Get(t.Context(), "m0", dir, []string{"*"}, &out); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&out)
	h, err := r.Next()
	if err != nil || h.Name != "a" {
		t.Fatalf("%+v, %v", h, err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if err := b.Get(t.Context(), "m0", filepath.Join(dir, "nowhere"), []string{"*"}, io.Discard); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

// One that does not come up has none of its request come up, and says which.
func TestStartIsAllOrNothing(t *testing.T) {
	b := newBench(t)
	if _, err := b.Start(t.Context(), b.ask("m0", "m1", "m2").only("m0"), nil); err != nil {
		t.Fatal(err)
	}
	b.breakMachine("m2")
	s := b.ask("m0", "m1", "m2")
	s.Machines = s.Machines[1:]
	_, err := b.Start(t.Context(), s, nil)
	var se *StartError
	if !errors.As(err, &se) || se.Machine != "m2" || se.Stage != "boot" || !strings.Contains(err.Error(), "the kernel says goodbye") {
		t.Errorf("%v", err)
	}
	all, err := b.Machines(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "m0" {
		t.Errorf("machines %+v, %v: want the first one alone", all, err)
	}
	if _, exit, err := b.shell(t, "m0", "exit 0"); err != nil || exit.Code != 0 {
		t.Errorf("the machine of another request: %+v, %v", exit, err)
	}
	b.breakMachine("")
	if _, err := b.Start(t.Context(), s, nil); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestLostMachineIsNamed(t *testing.T) {
	b := newBench(t)
	if _, err := b.Start(t.Context(), b.ask("m0", "m1"), nil); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := b.Exec(t.Context(), "m1", guest.Command{Args: []string{"/bin/sh", "-c", "echo ready; exec sleep 1000"}, Stdout: w})
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(b.pid(t, "m1"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var lost *LostError
	if err := <-done; !errors.As(err, &lost) || lost.Machine != "m1" || lost.Error() != "machine m1 is lost: signal: killed" {
		t.Errorf("%v", err)
	}
	if _, exit, err := b.shell(t, "m0", "exit 5"); err != nil || exit.Code != 5 {
		t.Errorf("the other machine: %+v, %v", exit, err)
	}
	all, err := b.Machines(t.Context())
	if err != nil || len(all) != 2 || all[0].Lost != "" || all[1].Lost != "signal: killed" {
		t.Errorf("machines: %+v, %v: want the second one lost", all, err)
	}
	grow := b.ask("m0", "m1")
	grow.Grow = true
	if again, err := b.Start(t.Context(), grow, nil); err != nil || len(again) != 1 || again[0].Name != "m1" {
		t.Errorf("grown: %+v, %v: want the lost one again", again, err)
	}
	if all, err := b.Machines(t.Context()); err != nil || len(all) != 2 || all[1].Lost != "" {
		t.Errorf("machines: %+v, %v: want none lost", all, err)
	}
	if _, exit, err := b.shell(t, "m1", "exit 6"); err != nil || exit.Code != 6 {
		t.Errorf("the machine in its place: %+v, %v", exit, err)
	}
}

func TestUnknownMachine(t *testing.T) {
	b := newBench(t)
	if err := b.Put(t.Context(), "m7", "/", strings.NewReader("")); !errors.Is(err, ErrUnknown) {
		t.Errorf("put: %v", err)
	}
	if _, err := b.Console(t.Context(), "m7"); !errors.Is(err, ErrUnknown) {
		t.Errorf("console: %v", err)
	}
	if _, _, err := b.shell(t, "m7", "true"); err == nil || !strings.Contains(err.Error(), "no such machine") {
		t.Errorf("exec: %v", err)
	}
}

// A client that goes away ends its commands.
func TestCancelEndsTheCommand(t *testing.T) {
	b := newBench(t)
	if _, err := b.Start(t.Context(), b.ask("m0"), nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := b.Exec(ctx, "m0", guest.Command{Args: []string{"/bin/sh", "-c", "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.05; done"}, Stdout: w, Grace: time.Minute})
		w.Close()
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "told\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A console's beginning and end are kept, and who asks again gets what is new.
func TestConsoleKeepsItsEnds(t *testing.T) {
	c := newConsole(10)
	for range 100 {
		c.Write([]byte("0123456789abc\n"))
	}
	if got, want := c.String(), "0123456789\n[1380 bytes are not kept]\n456789abc\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for from, want := range map[int64]string{
		-1: c.String(), 9: "9\n[1380 bytes are not kept]\n456789abc\n", 10: "\n[1380 bytes are not kept]\n456789abc\n",
		1389: "\n[1 bytes are not kept]\n456789abc\n", 1390: "456789abc\n", 1399: "\n", 1400: "", 9999: "",
	} {
		if got := c.since(from); string(got.Text) != want || got.Next != 1400 {
			t.Errorf("from byte %d: %q, then %d; want %q", from, got.Text, got.Next, want)
		}
	}
	c.Write([]byte("x"))
	if got := c.since(1400); string(got.Text) != "x" || got.Next != 1401 {
		t.Errorf("what is new: %q, %d", got.Text, got.Next)
	}
	if got := ConsoleEnd("a\nb\n"); got != "\n  the end of its console:\n    a\n    b" {
		t.Errorf("%q", got)
	}
	if got := ConsoleEnd("\n"); got != "" {
		t.Errorf("%q", got)
	}
}
