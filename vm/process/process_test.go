package process

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestChildren: when the first process ends, so do those that it left.
func TestChildren(t *testing.T) {
	// Orphans come to us, so that none is waiting for a slower parent.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	var l Launcher
	for _, confined := range []bool{true, false} {
		if !confined {
			l.refused.Store(int32(len(confinements()) - 1))
		}
		tail := NewTail(nil)
		// The child holds the console open, so that Done would not come.
		p, err := l.Start(exec.Command("/bin/sh", "-c", "sleep 1000 & echo started; exit 3"), Options{Console: tail, FixedAddress: true})
		if err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
			t.Errorf("confined %v: %v", confined, err)
		}
		if got := tail.String(); got != "started\n" {
			t.Errorf("confined %v: the console said %q", confined, got)
		}
		if err := unix.Kill(-p.Pid(), 0); err != unix.ESRCH {
			t.Errorf("confined %v: the process group still answers: %v", confined, err)
		}
	}
}

func TestKill(t *testing.T) {
	var l Launcher
	p, err := l.Start(exec.Command("/bin/sleep", "1000"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if err := p.Wait(); err == nil {
		t.Error("a killed process ended well")
	}
	p.Kill()
}

func TestStartMissing(t *testing.T) {
	var l Launcher
	if _, err := l.Start(exec.Command("/no/such/program"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestFixedAddress: the personality is the child's and not ours.
func TestFixedAddress(t *testing.T) {
	var l Launcher
	tail := NewTail(nil)
	p, err := l.Start(exec.Command("/bin/cat", "/proc/self/personality"), Options{Console: tail, FixedAddress: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err, tail.String())
	}
	if got := strings.TrimSpace(tail.String()); got != "00040000" {
		t.Errorf("the child's personality is %s", got)
	}
}

// broken is a writer that fails.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestTail(t *testing.T) {
	tail := NewTail(broken{})
	for range 3 * TailSize {
		tail.Write([]byte("ab"))
	}
	if s := tail.String(); len(s) != TailSize || !strings.HasSuffix(s, "abab") {
		t.Errorf("%d bytes, the last %q", len(s), s[len(s)-4:])
	}
	for _, b := range []byte("x Kernel panic - not syncing: y") {
		tail.Write([]byte{b})
	}
	select {
	case <-tail.panicked:
	default:
		t.Error("a panic that came byte by byte was not seen")
	}
}
