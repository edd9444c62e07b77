package sandbox

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// workHang starts programs that do not end by themselves.
func workHang(s *Sandbox, dir string) error {
	root, err := overlaid(s, dir, "/bin/sh", "/bin/sleep")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "bin/say"), nil, 0o755); err != nil {
		return err
	}
	go sh(s, root, "sleep 1000 & sleep 1001")
	return s.Run(context.Background(), Command{
		Root: root, Args: []string{"sh", "-c", "sleep 1002 & (sleep 1003 &) ; echo ready; sleep 1004"},
		Env: []string{"PATH=/bin"}, Stdout: os.Stdout, Stderr: os.Stderr,
	})
}

// leavings finds the processes that name a folder, or that live in a mount
// namespace where something is mounted below it.
func leavings(t *testing.T, dir string) []string {
	t.Helper()
	mounts, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range mounts {
		proc := filepath.Dir(m)
		cmd, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		info, _ := os.ReadFile(m)
		if strings.Contains(string(cmd), dir) || strings.Contains(string(info), dir) {
			found = append(found, proc+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	return found
}

// adoptOrphans makes this process the parent of its descendants' orphans.
func adoptOrphans(t *testing.T) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
}

// waitForOrphans returns when no child is left. A worker, as the first process
// of its PID namespace, can be waited for only when all others in it are gone.
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

func TestKillLeavesNothing(t *testing.T) {
	adoptOrphans(t)
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			dir := folder(t, tier)
			cmd := spawner(t, tier, "hang", dir)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatalf("got %q, %v", line, err)
			}
			if n := len(leavings(t, dir)); n < 5 {
				t.Fatalf("only %d processes while it runs", n)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			waitForOrphans(t)
			for _, l := range leavings(t, dir) {
				t.Error("left:", l)
			}
		})
	}
}

// TestKillAtAnyMoment kills the spawner at moments that are spread over the
// start of a worker and its first programs.
func TestKillAtAnyMoment(t *testing.T) {
	adoptOrphans(t)
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			for round := range 7 {
				killAfterSteps(t, tier, round)
			}
		})
	}
}

// killAfterSteps kills the spawner when it and its descendants have been seen
// to be at least so many processes, or are ready.
func killAfterSteps(t *testing.T, tier Tier, processes int) {
	dir := folder(t, tier)
	cmd := spawner(t, tier, "hang", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for len(leavings(t, dir)) < min(processes, 6) {
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitForOrphans(t)
	for _, l := range leavings(t, dir) {
		t.Errorf("killed at %d processes, left: %s", processes, l)
	}
}
