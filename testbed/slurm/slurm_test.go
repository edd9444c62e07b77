package slurm_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore/testbed"
	"ore/testbed/slurm"
)

// TestCluster runs jobs of an ordinary user, loses a host and the controller.
func TestCluster(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces: this needs root")
	}
	ctx := t.Context()
	b, err := testbed.Up(ctx, testbed.Config{Name: fmt.Sprintf("slurm-%d-%d", os.Getpid(), rand.IntN(1e6)), Hosts: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			logs(t, b)
		}
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	}()
	s, err := slurm.Start(ctx, b, slurm.Config{Features: map[string]string{"h2": "fast"}})
	if err != nil {
		t.Fatal(err)
	}
	// Before the first job, since what is younger than five seconds may be forgotten.
	if err := s.KillController(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.StartController(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Await(ctx, 3); err != nil {
		t.Fatal(err)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	srun := func(args ...string) []string {
		t.Helper()
		cmd := b.CommandAs(ctx, nobody, testbed.Head, append([]string{"srun", "-D", "/"}, args...)...)
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("srun %v: %v", args, err)
		}
		lines := strings.Fields(string(out))
		slices.Sort(lines)
		return lines
	}
	if got := srun("-N3", "sh", "-c", "hostname; id -un"); fmt.Sprint(got) != "[h1 h2 h3 nobody nobody nobody]" {
		t.Errorf("a job on three hosts said %q", got)
	}
	if got := srun("-N1", "-C", "fast", "hostname"); fmt.Sprint(got) != "[h2]" {
		t.Errorf("a job on a fast host ran on %q", got)
	}
	if err := b.Crash("h3"); err != nil {
		t.Fatal(err)
	}
	if err := b.Boot(ctx, "h3"); err != nil {
		t.Fatal(err)
	}
	if err := s.Await(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if got := srun("-w", "h3", "hostname"); fmt.Sprint(got) != "[h3]" {
		t.Errorf("a job on the host that came back ran on %q", got)
	}
	if j, err := s.Job(ctx, "1"); err != nil || j["JobState"] != "COMPLETED" {
		t.Errorf("job 1: %v, %v", j, err)
	}
}

// logs shows the ends of all logs.
func logs(t *testing.T, b *testbed.Bed) {
	t.Helper()
	const end = 3000
	all, _ := filepath.Glob(filepath.Join(slurm.Of(b).Folder(), "log", "*"))
	for _, p := range all {
		text, _ := os.ReadFile(p)
		t.Logf("%s:\n%s", p, text[max(0, len(text)-end):])
	}
}
