package namespace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// uidOrdinary is a user that need not exist.
const uidOrdinary = 54322

func TestMain(m *testing.M) {
	if err := Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) == 3 && strings.HasPrefix(os.Args[1], "play:") {
		if err := play(strings.TrimPrefix(os.Args[1], "play:"), os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is what the test's executable does in its other roles.
func play(role, arg string) error {
	switch role {
	case "start":
		return startAs(arg)
	case "look":
		return look(arg)
	case "orphans":
		return orphans()
	case "hang":
		fmt.Println("ready")
		for _, n := range []string{"1001", "1002"} {
			if err := exec.Command("setsid", "--fork", "sleep", n).Run(); err != nil {
				return err
			}
		}
		fmt.Println("forked")
		select {}
	}
	return fmt.Errorf("no role %q", role)
}

// startAs starts the role in arg, "ROLE KINDS IDS MARK", and waits for it.
func startAs(arg string) error {
	f := strings.Fields(arg)
	kinds, _ := strconv.Atoi(f[1])
	ids, _ := strconv.Atoi(f[2])
	p, err := Start(context.Background(), Options{
		Kinds: Kind(kinds), IDs: IDs(ids), Args: []string{"play:" + f[0], "inside"}, Mark: f[3],
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	if err != nil {
		return err
	}
	return p.Wait()
}

// look tells what the process is and sees.
func look(string) error {
	caps, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	fmt.Printf("pid=%d uid=%d gid=%d processes=%d\n", os.Getpid(), os.Getuid(), os.Getgid(), len(pids()))
	for line := range strings.Lines(string(caps)) {
		if strings.HasPrefix(line, "CapEff") || strings.HasPrefix(line, "CapAmb") || strings.HasPrefix(line, "CapInh") {
			fmt.Print(strings.ReplaceAll(line, "\t", ""))
		}
	}
	return nil
}

// orphans makes orphans, which this process has to reap, and children of its
// own, whose exit codes it must still get.
func orphans() error {
	for i := range 30 {
		if err := exec.Command("setsid", "--fork", "true").Run(); err != nil {
			return err
		}
		err := exec.Command("sh", "-c", "exit "+strconv.Itoa(i)).Run()
		var exit *exec.ExitError
		if i > 0 && (!errors.As(err, &exit) || exit.ExitCode() != i) {
			return fmt.Errorf("exit %d came as %v", i, err)
		}
	}
	// A child that is dead for long but not waited for is nobody's orphan.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	late := exec.Command("true")
	late.Stdout = w
	if err := late.Start(); err != nil {
		return err
	}
	w.Close()
	io.ReadAll(r)
	for len(deadChildren()) != 1 {
		if err := exec.Command("setsid", "--fork", "true").Run(); err != nil {
			return err
		}
	}
	return late.Wait()
}

// person returns the command that plays a role as an ordinary user.
func person(t testing.TB, role, arg string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this test becomes another user: run it as root")
	}
	dir, err := os.MkdirTemp("", "ore-namespace-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "test")
	if err := errors.Join(os.WriteFile(path, b, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "play:"+role, arg)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uidOrdinary, Gid: uidOrdinary}}
	return cmd
}

func starting(role string, kinds Kind, ids IDs, mark string) string {
	return fmt.Sprintf("%s %d %d %s", role, uintptr(kinds), int(ids), mark)
}

func TestIdentities(t *testing.T) {
	for _, c := range []struct {
		summary string
		kinds   Kind
		ids     IDs
		want    []string
	}{
		{"own id, no privileges", User | PID | Mount, Keep,
			[]string{"pid=1 uid=54322 gid=54322 processes=1\n", "CapEff:0000000000000000\n", "CapAmb:0000000000000000\n", "CapInh:0000000000000000\n"}},
		{"own id as root", User | PID | Mount | Net | IPC | UTS, AsRoot,
			[]string{"pid=1 uid=0 gid=0 processes=1\n", "CapEff:000001ffffffffff\n", "CapAmb:0000000000000000\n"}},
		{"no namespaces", 0, Keep, []string{"uid=54322 gid=54322"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			out, err := person(t, "start", starting("look", c.kinds, c.ids, "m")).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
		})
	}
}

func TestOrphansAreReapedAndOwnChildrenAreNot(t *testing.T) {
	out, err := person(t, "start", starting("orphans", User|PID|Mount, Keep, "m")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestKillOfTheStarterEndsAll kills the process that called Start.
func TestKillOfTheStarterEndsAll(t *testing.T) {
	adoptOrphans(t)
	for _, c := range []struct {
		summary string
		kinds   Kind
		ids     IDs
	}{
		{"own id", User | PID | Mount, Keep},
		{"as root", User | PID | Mount | Net, AsRoot},
	} {
		t.Run(c.summary, func(t *testing.T) {
			cmd := person(t, "start", starting("hang", c.kinds, c.ids, mark("killed")))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() && lines.Text() != "forked" {
			}
			if n := countMarked(t, mark("killed")); n != 3 {
				t.Errorf("%d processes run, want 3", n)
			}
			cmd.Process.Kill()
			cmd.Wait()
			waitForOrphans(t)
			if n := countMarked(t, mark("killed")); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		})
	}
}

// adoptOrphans makes this process the parent of its descendants' orphans.
func adoptOrphans(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// waitForOrphans returns when no child is left. The first process of a PID
// namespace can be waited for only when all others in it are gone.
func waitForOrphans(t *testing.T) {
	t.Helper()
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.ECHILD) {
			return
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

// mark is one that no other run of the tests has.
func mark(word string) string { return word + "-" + strconv.Itoa(os.Getpid()) }

func countMarked(t *testing.T, mark string) int {
	t.Helper()
	n := 0
	for _, pid := range pids() {
		if carries(pid, []byte(markVariable+"="+mark)) {
			n++
		}
	}
	return n
}

// TestSweep is the way without namespaces: the process itself dies with its
// starter, and what it left is found by its mark.
func TestSweep(t *testing.T) {
	adoptOrphans(t)
	cmd := person(t, "start", starting("hang", 0, Keep, mark("swept")))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "forked" {
	}
	cmd.Process.Kill()
	cmd.Wait()
	n, err := Sweep(mark("swept"))
	if err != nil || n < 2 {
		t.Errorf("swept %d processes, %v; want the two that sleep", n, err)
	}
	waitForOrphans(t)
	if n := countMarked(t, mark("swept")); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	if _, err := Sweep(""); err == nil {
		t.Error("an empty mark was accepted")
	}
}

func TestStartPassesFilesAndExitCode(t *testing.T) {
	p, err := Start(context.Background(), Options{Kinds: PID | Mount, Args: []string{"play:none", ""}, Stderr: io.Discard})
	if err != nil {
		t.Skipf("this test needs root: %v", err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("Wait: %v, want exit code 1", err)
	}
}

func TestStartEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(ctx, Options{Kinds: PID | Mount, Args: []string{"play:hang", ""}, Stdout: w})
	if err != nil {
		t.Skipf("this test needs root: %v", err)
	}
	w.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() && lines.Text() != "forked" {
	}
	cancel()
	if err := p.Wait(); err == nil {
		t.Error("Wait: no error after the context was cancelled")
	}
	for lines.Scan() {
	}
}

func TestRefusalSaysWhatToDo(t *testing.T) {
	out, err := person(t, "start", starting("look", User|PID|Mount, Ranges, "m")).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("usermod --add-subuids")) {
		t.Errorf("%v: %s", err, out)
	}
	for _, e := range []error{unix.EPERM, unix.ENOSPC, unix.EINVAL} {
		if got := (refusal{fmt.Errorf("clone: %w", explain(e))}); !errors.Is(got, ErrRefused) || !errors.Is(got, e) || len(got.Error()) < 60 {
			t.Errorf("%v is explained as %v", e, got)
		}
	}
}

func TestProbe(t *testing.T) {
	for _, a := range Probe(context.Background()) {
		if !a.Works && a.Why == "" {
			t.Errorf("%s: does not work, without a reason", a.Name)
		}
		t.Log(a)
	}
}

// BenchmarkStart is the cost of a supervisor's namespaces over that of
// starting the same executable without any.
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"exec", Options{}},
		{"supervisor", Options{Kinds: User | PID | Mount, IDs: Keep}},
		{"root", Options{Kinds: User | PID | Mount | Net | IPC | UTS, IDs: AsRoot}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.o.Args = []string{"play:none", ""}
				p, err := Start(context.Background(), c.o)
				if err != nil {
					b.Fatal(err)
				}
				p.Wait()
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) b) S 3 4"))
	f.Add([]byte("1 () Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		state, parent, ok := parseStat(b)
		if ok && (state == ' ' || !bytes.Contains(b, []byte(strconv.Itoa(parent)[:1]))) {
			t.Errorf("%q: %c %d", b, state, parent)
		}
	})
}

func TestParseStat(t *testing.T) {
	state, parent, ok := parseStat([]byte("12 (a) b (c)) Z 3 4 5"))
	if state != 'Z' || parent != 3 || !ok {
		t.Errorf("got %c %d %v", state, parent, ok)
	}
}

func FuzzParseGreeting(f *testing.F) {
	f.Add(greeting{fd: 3, kinds: User | PID, ids: Ranges}.String())
	f.Add("3 -1 0")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := parseGreeting(s)
		if err != nil {
			return
		}
		if again, err := parseGreeting(g.String()); err != nil || again != g {
			t.Errorf("%q: %v became %v, %v", s, g, again, err)
		}
	})
}

func FuzzParsePidfd(f *testing.F) {
	f.Add([]byte("pos:\t0\nPid:\t42\nNSpid:\t42\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if pid, ok := parsePidfd(b); ok && !bytes.Contains(b, []byte("Pid:")) {
			t.Errorf("%q: %d", b, pid)
		}
	})
}
