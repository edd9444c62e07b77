package machine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	"ore/image"
	"ore/install/disk"
	"ore/install/diskimage"
	"ore/install/recipe"
)

// shown is a kernel's view of processes and a disk.
type shown struct {
	t    *testing.T
	root string
}

func (s shown) file(content, name string, values ...any) {
	s.t.Helper()
	path := filepath.Join(s.root, fmt.Sprintf(name, values...))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s shown) process(pid, parent int, read, written int64) {
	s.t.Helper()
	s.file(fmt.Sprintf("%d (a) (b 1) S %d 1 1 0", pid, parent), "proc/%d/stat", pid)
	s.file(fmt.Sprintf("rchar: %d\nwchar: %d\nsyscr: 999999999\nread_bytes: 999999999\n", read, written), "proc/%d/io", pid)
}

func (s shown) disk(written int64) {
	s.t.Helper()
	s.file(fmt.Sprintf("1 0 999999999 1 1 0 %d 1 0 1 1", written/512), "sys/class/block/vda/stat")
}

// What is below us counts, and what disks take while they are waited for; what others do,
// what a loop reads that waits, and what the kernel writes of its own accord does not.
func TestPulse(t *testing.T) {
	s := shown{t, t.TempDir()}
	own := os.Getpid()
	s.process(own+1, own, 100<<20, 0)
	s.process(own+2, own+1, 0, 0)
	s.process(own+9, own+1000, 0, 0)
	s.disk(0)
	p := newPulse(s.root, disk.Layout{Disks: []disk.Placed{{Seen: disk.Seen{Device: disk.Device{Name: "vda"}}}}})
	flushing := false
	for _, c := range []struct {
		summary string
		do      func()
		want    bool
	}{
		{"nothing", func() {}, false},
		{"a child reads and writes", func() { s.process(own+1, own, 100<<20+pulseLeast/2, pulseLeast/2) }, true},
		{"nothing, again", func() {}, false},
		{"a child's child writes", func() { s.process(own+2, own+1, 0, 1<<20) }, true},
		{"a small one comes where a large one was", func() { s.process(own+1, own, 0, 10) }, false},
		{"a large one ends while another works", func() {
			s.process(own+1, own, 0, 0)
			s.process(own+4, own, 2<<20, 0)
		}, true},
		{"the next does", func() {
			s.process(own+4, own, 0, 0)
			s.process(own+1, own, 1<<20, 0)
		}, true},
		{"little is read", func() { s.process(own+2, own+1, pulseLeast/2, 1<<20) }, false},
		{"a stranger works", func() { s.process(own+9, own+1000, 1<<30, 1<<30) }, false},
		{"one comes that has worked", func() { s.process(own+3, own+2, 1<<30, 0) }, true},
		{"the kernel fills tables", func() { s.disk(640 << 20) }, false},
		{"it did, and a disk takes nothing", func() { flushing = true }, false},
		{"a disk takes what was written", func() { s.disk(641 << 20) }, true},
	} {
		c.do()
		if got := p.beats(flushing); got != c.want {
			t.Errorf("%s: %v", c.summary, got)
		}
	}
}

// Disks are waited for while something is written out, or a whole one is, and only then.
func TestDisksAreWaitedFor(t *testing.T) {
	u := &run{recipe: recipe.Recipe{Image: &image.Manifest{}, Disk: &diskimage.Disk{}}, tell: newTeller(nil)}
	var seen []int32
	look := func() { seen = append(seen, u.flushes.Load()) }
	u.Disk = func(context.Context, diskimage.Target) error { look(); return nil }
	look()
	if err := u.whole(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	bad := errors.New("broken")
	if err := u.flushing(func() error { look(); return bad }); err != bad {
		t.Errorf("written out: %v", err)
	}
	look()
	if want := []int32{0, 1, 0, 1, 0}; !slices.Equal(seen, want) {
		t.Errorf("disks are waited for: %v, want %v", seen, want)
	}
}

// below starts a program of a shell, as the child of another's, and returns what it
// writes once it has written "there".
func below(t *testing.T, script string) *bufio.Reader {
	t.Helper()
	c := exec.Command("sh", "-c", `sh -c "$1"; true`, "sh", "echo there; "+script)
	runtime.LockOSThread() // whose end ends the program, so that none outlives a test that is killed
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	said, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		c.Wait()
	})
	r := bufio.NewReader(said)
	if line, err := r.ReadString('\n'); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return r
}

// The kernel's own books tell a program that writes from one that only runs.
func TestPulseOfPrograms(t *testing.T) {
	writes := below(t, "cat /dev/zero")
	p := newPulse("/", disk.Layout{})
	if _, err := io.CopyN(io.Discard, writes, 4*pulseLeast); err != nil {
		t.Fatal(err)
	}
	if !p.beats(true) {
		t.Error("what writes is not seen")
	}
}

func TestPulseOfWhatOnlyRuns(t *testing.T) {
	below(t, "while kill -0 $PPID; do :; done")
	p := newPulse("/", disk.Layout{})
	if n := len(p.below()); n != 2 {
		t.Fatalf("%d processes are seen, want 2", n)
	}
	// Ticks of the processor that are spent below us (proc_pid_stat(5)), one of 100 a second.
	spent := func() (sum int) {
		for _, pid := range p.below() {
			b, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
			if f := strings.Fields(string(b)); len(f) > 14 {
				n, _ := strconv.Atoi(f[13])
				sum += n
			}
		}
		return sum
	}
	for begun := spent(); spent() < begun+5; {
		runtime.Gosched()
	}
	if p.beats(true) {
		t.Error("what only runs is taken for what works")
	}
}

// A stage that has nothing to say is told again as long as it works, and what was not
// told of how far it is comes in any case.
func TestPulseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		tell := newTeller(func(r recipe.Report) { told = append(told, fmt.Sprint(r.Event, " ", r.Done, " ", r.Text)) })
		ticker, stop := time.NewTicker(pulseEvery), make(chan struct{})
		defer ticker.Stop()
		defer close(stop)
		works := true
		go tell.pulse(ticker.C, stop, func() bool { return works })
		tell.enter(recipe.Configure, "")
		tell.advance(ore.Event{Text: "boot loader", Done: 7})
		tell.advance(ore.Event{Text: "boot loader: grub-install", Done: 7})
		for _, c := range []struct {
			works bool
			want  string
		}{
			{false, "start 0 , advance 7 boot loader, advance 7 boot loader: grub-install"},
			{false, ""},
			{true, "advance 7 boot loader: grub-install"},
			{true, "advance 7 boot loader: grub-install"},
			{false, ""},
		} {
			works = c.works
			time.Sleep(pulseEvery)
			synctest.Wait()
			if got := strings.Join(told, ", "); got != c.want {
				t.Errorf("told %q, want %q", got, c.want)
			}
			told = nil
		}
	})
}

// What is told anyway needs no pulse.
func TestPulseOfWhatSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		tell := newTeller(func(recipe.Report) { n++ })
		ticker, stop := time.NewTicker(pulseEvery), make(chan struct{})
		defer ticker.Stop()
		defer close(stop)
		go tell.pulse(ticker.C, stop, func() bool { return true })
		const all = 10
		for range all {
			tell.advance(ore.Event{Text: "unpack"})
			time.Sleep(pulseEvery / 2)
		}
		synctest.Wait()
		if n != all {
			t.Errorf("told %d times, want %d", n, all)
		}
	})
}
