//go:build system

package slurm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"ore/testbed"
)

// ore runs a command of the user's to its end, and returns what it printed and its
// exit code.
func (l *lab) ore(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := l.command(args...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// command makes a command of the user's.
func (l *lab) command(args ...string) *exec.Cmd {
	cmd := exec.Command("setpriv", append([]string{"--reuid", l.user.Uid, "--regid", l.user.Gid, "--init-groups", l.program}, args...)...)
	cmd.Dir, cmd.Env = l.user.HomeDir, l.environ()
	return cmd
}

// well runs a command that has to succeed.
func (l *lab) well(t *testing.T, args ...string) string {
	t.Helper()
	out, code := l.ore(t, args...)
	if code != 0 {
		t.Fatalf("ore %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
	return out
}

// keepers are the processes that keep the user's machines.
func (l *lab) keepers(t *testing.T) (pids []int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		b, err := os.ReadFile(p) // it may have ended meanwhile
		if err == nil && strings.HasPrefix(string(b), l.program+"\x00") && strings.Contains(string(b), "\x00--keeper\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// gone waits until there is no keeper and no folder of a job.
func (l *lab) gone(t *testing.T) {
	t.Helper()
	for range 600 {
		run, _ := filepath.Glob(filepath.Join(l.user.HomeDir, ".local/state/ore/run/*"))
		if len(l.keepers(t)) == 0 && len(run) == 0 {
			return
		}
		pause(t)
	}
	run, _ := filepath.Glob(filepath.Join(l.user.HomeDir, ".local/state/ore/run/*"))
	t.Errorf("left on the login node: keepers %v, folders %v", l.keepers(t), run)
}

// reach tells whether a machine can connect to another one: nobody listens there, and
// it says so.
const reach = `LC_ALL=C bash -c 'exec 3<>/dev/tcp/m3/9' 2>&1 | grep -q refused && echo reached m3`

// Machines on hosts of Slurm are kept after the command that started them.
func TestBedsOnSlurm(t *testing.T) {
	l := newLab(t)
	up := func(t *testing.T, more ...string) string {
		t.Helper()
		t.Cleanup(func() { l.ore(t, "down", "--all") }) // where it has failed
		return l.well(t, append([]string{"up", "-n", "4", "--engine", "slurm", "-i", l.given(t)}, more...)...)
	}
	t.Run("used and ended", func(t *testing.T) {
		if out := up(t, "--salloc-option=--ntasks-per-node=2"); !strings.Contains(out, "machine  m3") {
			t.Errorf("up says %s", out)
		}
		for _, c := range []struct {
			want  string
			times int
			args  []string
		}{
			{"given here", 4, []string{"exec", "bed", "--", "cat", "given"}},
			{"m3", 1, []string{"exec", "bed", "--rank", "3", "--", "hostname"}},
			{"reached m3", 1, []string{"exec", "bed", "--rank", "0", "--", "sh", "-c", reach}},
			{"machine  m", 4, []string{"jobs", "show", "bed"}},
			{"running", 1, []string{"jobs", "ls"}},
		} {
			if out := l.well(t, c.args...); strings.Count(out, c.want) != c.times {
				t.Errorf("%v: %q is not there %d times: %s", c.args, c.want, c.times, out)
			}
		}
		l.well(t, "cp", "--rank", "3", "bed:/job/given", filepath.Join(l.user.HomeDir, "back"))
		if b, err := os.ReadFile(filepath.Join(l.user.HomeDir, "back")); err != nil || string(b) != "given here\n" {
			t.Errorf("copied back: %q, %v", b, err)
		}
		if out, code := l.ore(t, "exec", "bed", "--rank", "2", "--", "sh", "-c", "exit 7"); code != 7 {
			t.Errorf("exit code %d: %s", code, out)
		}
		if out, code := l.ore(t, "up", "--engine", "slurm"); code == 0 || !strings.Contains(out, "run already") {
			t.Errorf("a second one of that name: %d, %s", code, out)
		}
		if out, code := l.ore(t, "grow", "bed", "-n", "6"); code == 0 || !strings.Contains(out, "given hosts for 4") {
			t.Errorf("more than Slurm gave: %d, %s", code, out)
		}
		l.well(t, "down", "bed")
		l.gone(t)
		l.free(t, hosts...)
		if out, _ := l.ore(t, "jobs", "ls"); strings.Contains(out, "bed") {
			t.Errorf("after 'ore down': %s", out)
		}
	})
	t.Run("a host crashes, and its machines start on another", func(t *testing.T) {
		up(t, "--salloc-option=--ntasks-per-node=2")
		if err := l.Crash("h1"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Boot(t.Context(), "h1"); err != nil {
				t.Fatal(err)
			}
			if err := l.slurm.Await(t.Context(), len(hosts)); err != nil {
				t.Error(err)
			}
		}()
		lost := false
		for range 600 {
			if lost = strings.Contains(l.well(t, "jobs", "show", "bed"), "lost"); lost {
				break
			}
			pause(t)
		}
		if out, code := l.ore(t, "exec", "bed", "--rank", "0", "--", "true"); !lost || code == 0 || !strings.Contains(out, "host") || !strings.Contains(out, "m0") {
			t.Errorf("on a lost host: %v, %d, %s", lost, code, out)
		}
		l.well(t, "grow", "bed", "-n", "4")
		if out := l.well(t, "exec", "bed", "--", "cat", "given"); strings.Count(out, "given here") != 4 {
			t.Errorf("after growth: %s", out)
		}
		if out := l.well(t, "exec", "bed", "--rank", "0", "--", "sh", "-c", reach); !strings.Contains(out, "reached") {
			t.Errorf("the network after growth: %s", out)
		}
		l.well(t, "down", "bed")
		l.gone(t)
	})
	t.Run("the keeper is killed", func(t *testing.T) {
		up(t)
		pids := l.keepers(t)
		if len(pids) != 1 {
			t.Fatalf("keepers: %v", pids)
		}
		if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		l.free(t, hosts...)
		l.gone(t)
		if out, code := l.ore(t, "exec", "bed", "--", "true"); code == 0 || !strings.Contains(out, "does not run") {
			t.Errorf("exec: %d, %s", code, out)
		}
	})
	t.Run("the allocation ends", func(t *testing.T) {
		up(t)
		must(t, l.Command(t.Context(), testbed.Head, "scancel", l.job(t)))
		l.gone(t)
		if out, code := l.ore(t, "exec", "bed", "--", "true"); code == 0 || !strings.Contains(out, "it was cancelled (scancel") {
			t.Errorf("exec: %d, %s", code, out)
		}
		l.free(t, hosts...)
	})
	t.Run("up is cancelled while it waits", func(t *testing.T) {
		must(t, l.Command(t.Context(), testbed.Head, "scontrol", "update", "partitionname=main", "state=down"))
		c := l.command("up", "-n", "4", "--engine", "slurm")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		for l.queue(t) == "" {
			pause(t)
		}
		c.Process.Signal(syscall.SIGINT)
		if err := c.Wait(); err == nil || c.ProcessState.ExitCode() != 130 {
			t.Errorf("it ended with %v", err)
		}
		l.gone(t)
		if left := l.queue(t); left != "" {
			t.Errorf("left in the queue: %s", left)
		}
		must(t, l.Command(t.Context(), testbed.Head, "scontrol", "update", "partitionname=main", "state=up"))
	})
}
