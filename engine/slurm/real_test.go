package slurm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/node/agent"
	"ore/testbed"
	slurmbed "ore/testbed/slurm"
)

// The tests in this file are of real slurmctld, slurmd, salloc, srun and sbcast on
// a bed of hosts, by an ordinary user. In place of the agent stands a program that
// says that it is ready: what agents do is tested with them.

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		var err error
		switch os.Args[1] {
		case "play:agent":
			err = playAgent()
		case "play:drive":
			err = playDrive(os.Args[2:])
		default:
			os.Exit(m.Run())
		}
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// playAgent is the program on the hosts.
func playAgent() error {
	in := bufio.NewReader(os.Stdin)
	keys, err := in.ReadString('\n')
	if err != nil || keys != "secret\n" {
		return fmt.Errorf("keys %q: %w", keys, err)
	}
	args := strings.Join(os.Args[2:], " ")
	host, _, _ := strings.Cut(strings.TrimPrefix(args, "--name "), " ")
	if own, err := os.Hostname(); err != nil || own != host || !strings.Contains(args, " --listen 10.77.") || !strings.HasSuffix(args, ":0") {
		return fmt.Errorf("on %s with %s: %w", own, args, err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(agent.Ready{Name: host, Addr: exe}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// playDrive is the user's program: it gets hosts, starts agents, and does what
// its input says.
func playDrive(args []string) error {
	ctx := context.Background()
	s := Settings{}
	r := request{job: args[0], machines: ore.Machines{Count: 16, Resources: ore.Resources{CPUs: 1, Memory: 256 << 20}}}
	if args[0] == "never" {
		r.machines.Count = 500
	}
	if len(args) > 1 {
		r.machines.Count = 4
		r.named, _ = s.prefer(ctx, r, remembered{Hosts: args[1:], Key: "0123456789abcdef"})
	}
	a, err := s.allocate(ctx, r, nil)
	if err != nil {
		return err
	}
	on := agents{allocation: a, keys: []byte("secret\n")}
	ready, err := on.start(ctx, Program{Path: "/proc/self/exe", Args: []string{"play:agent"}}.at(os.Args[0]))
	if err != nil {
		return err
	}
	fmt.Println("job", a.id)
	for _, h := range ready {
		fmt.Println("agent", h.Name, h.Addr)
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "note":
			r.key = "abc"
			fmt.Println("noted", a.note(ctx, r))
		case "over":
			<-a.lease.done
			fmt.Println("over", a.over())
		case "ended":
			fmt.Println("ended", a.ended())
		case "end":
			on.end(ctx, endTime)
			fmt.Println("given back", a.giveBack(ctx), a.ended()) // which is no reason for anything
			return nil
		}
	}
	return errors.New("no more input")
}

// at is the program by another path.
func (p Program) at(path string) Program {
	p.Path = path
	return p
}

// lab is a Slurm cluster of four hosts.
type lab struct {
	*testbed.Bed
	slurm   *slurmbed.Cluster
	user    *user.User
	program string
}

func newLab(t *testing.T, c testbed.Config) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces: this needs root")
	}
	c.Name, c.Hosts = fmt.Sprintf("es-%d-%d", os.Getpid(), rand.IntN(1e6)), 4
	b, err := testbed.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(slurmbed.Of(b).Folder(), "log", "slurmctld.log"))
			t.Logf("slurmctld: %s", log[max(0, len(log)-4000):])
		}
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{Bed: b, program: filepath.Join(b.Folder(), "program")}
	if l.user, err = user.Lookup("nobody"); err != nil {
		t.Fatal(err)
	}
	if l.slurm, err = slurmbed.Start(t.Context(), b, slurmbed.Config{}); err != nil {
		t.Fatal(err)
	}
	copyProgram(t, l.program)
	return l
}

// copyProgram puts this test where an ordinary user may run it.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// driver is the user's program as a test sees it.
type driver struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	said  bytes.Buffer
	job   string
	hosts []string // of agents
	paths []string // of their programs
}

func (l *lab) drive(t *testing.T, args ...string) *driver {
	t.Helper()
	d := &driver{t: t, cmd: l.CommandAs(t.Context(), l.user, testbed.Head, append([]string{l.program, "play:drive"}, args...)...)}
	d.cmd.Stderr = &d.said
	in, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.in, d.out = in, bufio.NewScanner(out)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		d.cmd.Wait()
	})
	for {
		f := strings.Fields(d.line())
		switch f[0] {
		case "job":
			d.job = f[1]
		case "agent":
			d.hosts, d.paths = append(d.hosts, f[1]), append(d.paths, f[2])
		case "ready":
			return d
		default:
			t.Fatalf("the driver said %q", f)
		}
	}
}

func (d *driver) line() string {
	d.t.Helper()
	if !d.out.Scan() {
		d.t.Fatalf("the driver ended: %s", d.said.String())
	}
	return d.out.Text()
}

// do tells the driver something and returns its answer.
func (d *driver) do(what string) string {
	d.t.Helper()
	if _, err := fmt.Fprintln(d.in, what); err != nil {
		d.t.Fatal(err)
	}
	return d.line()
}

// state is what Slurm says of the driver's job.
func (l *lab) state(t *testing.T, id string) map[string]string {
	t.Helper()
	j, err := l.slurm.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// nothingLeft waits until all hosts are idle, and looks for what is left there.
func (l *lab) nothingLeft(t *testing.T, hosts ...string) {
	t.Helper()
	if err := l.slurm.Await(t.Context(), len(hosts)); err != nil {
		t.Fatal(err)
	}
	l.quiet(t)
	for _, h := range hosts {
		out, err := l.Command(t.Context(), h, "sh", "-c", "ls -d /tmp/ore-[0-9]*-???????? 2>/dev/null; cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'play[:]agent' || :").Output()
		if err != nil || len(out) > 0 {
			t.Errorf("left on %s: %s, %v", h, out, err)
		}
	}
}

// quiet waits until nothing of salloc is left on the user's host.
func (l *lab) quiet(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		out, err := l.Command(ctx, testbed.Head, "sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null | grep -xE 'salloc|srun' || :").Output()
		if strings.Count(string(out), "salloc")+strings.Count(string(out), "srun") == 0 && err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("left on the user's host: %s, %v", out, err)
			return
		}
		awaitTick(ctx)
	}
}

var all = []string{"h1", "h2", "h3", "h4"}

func TestSharedProgram(t *testing.T) {
	ctx := t.Context()
	l := newLab(t, testbed.Config{})
	t.Run("killed", func(t *testing.T) {
		d := l.drive(t, "k")
		if len(d.hosts) != 4 {
			t.Errorf("agents on %v", d.hosts)
		}
		if d.paths[0] != l.program {
			t.Errorf("what runs there is %s, not the very file", d.paths[0])
		}
		j := l.state(t, d.job)
		if j["NumCPUs"] != "16" || j["JobName"] != "ore-k" || j["JobState"] != "RUNNING" {
			t.Errorf("Slurm says %v", j)
		}
		if got := d.do("note"); got != "noted <nil>" {
			t.Errorf("%s", got)
		}
		out, err := l.Command(ctx, testbed.Head, "scontrol", "show", "job", d.job).Output()
		if err != nil || !strings.Contains(string(out), "Comment=ore job=k key=abc") {
			t.Errorf("%v: %s", err, out)
		}
		d.cmd.Process.Kill()
		l.nothingLeft(t, all...)
		if j := l.state(t, d.job); j["JobState"] == "RUNNING" {
			t.Errorf("after kill -9: %v", j["JobState"])
		}
	})
	t.Run("more than there is", func(t *testing.T) {
		out, err := l.CommandAs(ctx, l.user, testbed.Head, l.program, "play:drive", "never").Output()
		if err == nil || !strings.Contains(string(out), "it asks for 500 machines of 1 CPUs and 320 MB, and all hosts together have room for 16") {
			t.Errorf("%v: %s", err, out)
		}
		l.nothingLeft(t, all...)
	})
	t.Run("cancelled by Slurm", func(t *testing.T) {
		d := l.drive(t, "c")
		if out, err := l.Command(ctx, testbed.Head, "scancel", d.job).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := d.do("over"); got != "over Slurm job "+d.job+": it was cancelled (scancel, by you or an operator): run the job again" {
			t.Error(got)
		}
		l.nothingLeft(t, all...)
	})
	t.Run("controller away", func(t *testing.T) {
		d := l.drive(t, "r")
		saved(ctx)
		if err := l.slurm.KillController(ctx); err != nil {
			t.Fatal(err)
		}
		if got := d.do("ended"); got != "ended <nil>" {
			t.Errorf("without a controller: %s", got)
		}
		if err := l.slurm.StartController(ctx); err != nil {
			t.Fatal(err)
		}
		if got := d.do("end"); got != "given back <nil> <nil>" {
			t.Error(got)
		}
		l.nothingLeft(t, all...)
	})
	t.Run("hosts of an earlier run", func(t *testing.T) {
		d := l.drive(t, "p", "h3", "gone")
		if fmt.Sprint(d.hosts) != "[h3]" {
			t.Errorf("agents on %v", d.hosts)
		}
		if got := d.do("end"); got != "given back <nil> <nil>" {
			t.Error(got)
		}
	})
	t.Run("a host crashes", func(t *testing.T) {
		d := l.drive(t, "h")
		if err := l.Crash("h2"); err != nil {
			t.Fatal(err)
		}
		awaitState(t, l, "h2", "down")
		if j := l.state(t, d.job); j["JobState"] != "RUNNING" {
			t.Errorf("the allocation is %s", j["JobState"])
		}
		if got := d.do("ended"); got != "ended <nil>" {
			t.Error(got)
		}
		if got := d.do("end"); got != "given back <nil> <nil>" {
			t.Error(got)
		}
		l.nothingLeft(t, "h1", "h3", "h4")
	})
}

// saved returns when the controller has saved its jobs, which it does each five
// seconds: what is younger it may forget. Nothing tells of it, since it does not
// write what has not changed.
func saved(ctx context.Context) {
	c, cancel := context.WithTimeout(ctx, 6*time.Second)
	defer cancel()
	<-c.Done()
}

// awaitTick waits for a moment between two looks at what another program does.
func awaitTick(ctx context.Context) {
	c, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	<-c.Done()
}

// awaitState waits until Slurm says that a host is in a state.
func awaitState(t *testing.T, l *lab, host, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		out, _ := l.Command(ctx, testbed.Head, "sinfo", "-h", "-n", host, "-o", "%t").Output()
		if strings.HasPrefix(string(out), want) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("host %s is %s", host, out)
		}
		awaitTick(ctx)
	}
}

func TestBroughtProgram(t *testing.T) {
	// Each host has /opt and /tmp of its own: the program is on head alone.
	l := newLab(t, testbed.Config{Private: []string{"/opt", "/tmp"}})
	there := filepath.Join(l.Folder(), "disk", testbed.Head, "opt", "program")
	copyProgram(t, there)
	l.program = "/opt/program"
	d := l.drive(t, "b")
	if len(d.hosts) != 4 {
		t.Errorf("agents on %v", d.hosts)
	}
	for _, p := range d.paths {
		if p == l.program {
			t.Errorf("a host that has no program ran %s", p)
		}
	}
	l.nothing(t)
	if got := d.do("end"); got != "given back <nil> <nil>" {
		t.Error(got)
	}
	l.nothingLeft(t, all...)
}

// nothing looks for files that the program left, while it runs.
func (l *lab) nothing(t *testing.T) {
	t.Helper()
	for _, h := range all {
		out, err := l.Command(t.Context(), h, "sh", "-c", "ls -d /tmp/ore-[0-9]*-???????? 2>/dev/null || :").Output()
		if err != nil || len(out) > 0 {
			t.Errorf("on %s: %s, %v", h, out, err)
		}
	}
}
