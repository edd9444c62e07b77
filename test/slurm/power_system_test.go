//go:build system

package slurm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore/testbed"
	slurmbed "ore/testbed/slurm"
)

// TestNodesAreMachines has Slurm turn nodes on that are machines of ore, run jobs
// on them with what they ask for, and turn them off.
func TestNodesAreMachines(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces: this needs root")
	}
	ctx := t.Context()
	b, err := testbed.Up(ctx, testbed.Config{Name: fmt.Sprintf("pow-%d-%d", os.Getpid(), rand.IntN(1e6)), Hosts: 1, Join: true})
	if err != nil {
		t.Fatal(err)
	}
	i, err := b.Info()
	if err != nil {
		t.Fatal(err)
	}
	program, home := filepath.Join(b.Folder(), "ore"), filepath.Join(b.Folder(), "home")
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range []string{"resume.log", "slurm/log/slurmctld.log"} {
				text, _ := os.ReadFile(filepath.Join(b.Folder(), log))
				t.Logf("%s: %s", log, text[max(0, len(text)-3000):])
			}
		}
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	})
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/ore")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	// The controller's host has no mirror: what it needs is made here, by all the
	// ways that the test takes.
	for _, packages := range []string{"hello", "slurmd"} {
		prepare := exec.Command(program, "run", "-p", packages, "-p", "slurmd", "-p", "munge", "--results", filepath.Join(b.Folder(), "results"), "--", "true")
		prepare.Env = append(os.Environ(), "ORE_HOME="+home)
		if out, err := prepare.CombinedOutput(); err != nil {
			t.Fatalf("prepare: %v: %s", err, out)
		}
	}
	for name, verb := range map[string]string{"resume": "resume --munge-key " + b.Folder() + "/slurm/munge/key", "suspend": "suspend"} {
		script := fmt.Sprintf("#!/bin/sh\nexport ORE_HOME=%s SLURM_CONF=%s/slurm/slurm.conf PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexec %s slurm %s \"$1\" >>%s/resume.log 2>&1\n",
			home, b.Folder(), program, verb, b.Folder())
		if err := os.WriteFile(filepath.Join(b.Folder(), name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, err := slurmbed.Start(ctx, b, slurmbed.Config{
		Lines: []string{
			"ResumeProgram=" + b.Folder() + "/resume", "SuspendProgram=" + b.Folder() + "/suspend",
			"ResumeTimeout=120", "SuspendTimeout=10", "SuspendTime=5", "SlurmctldParameters=idle_on_node_suspend",
			"SuspendExcNodes=h1", "PrivateData=cloud",
		},
		Nodes: []string{
			fmt.Sprintf("NodeName=vm1 NodeAddr=%s Port=17001 CPUs=1 RealMemory=256 State=CLOUD Feature=plain", i.Hosts[0].Address),
			fmt.Sprintf("NodeName=vm2 NodeAddr=%s Port=17002 CPUs=1 RealMemory=256 State=CLOUD Feature=plain", i.Hosts[0].Address),
			"PartitionName=cloud Nodes=vm[1-2] MaxTime=INFINITE State=UP",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		cmd := exec.CommandContext(ctx, "srun", append([]string{"--partition=cloud", "--chdir=/", "--mem=64"}, args...)...)
		cmd.Env = append(os.Environ(), "SLURM_CONF="+filepath.Join(s.Folder(), "slurm.conf"))
		cmd.Stderr = t.Output()
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("srun %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	// hello is in no machine but those of jobs that ask for it, and not on this host.
	if out := run("--comment=ore packages=hello", "--nodes=2", "sh", "-c", "hello; grep -c UML /proc/cpuinfo || uname -r"); strings.Count(out, "Hello, world!") != 2 {
		t.Errorf("a job that asked for hello said %q", out)
	}
	awaitPower(t, b, "vm1", "POWERED_DOWN")
	awaitPower(t, b, "vm2", "POWERED_DOWN")
	if left := must(t, b.Command(ctx, testbed.Head, "sh", "-c", "ps -eo args= | grep -E '[l]inux.uml|[s]upervise' || :")); left != "" {
		t.Errorf("left after they were turned off: %s", left)
	}
	if out := run("sh", "-c", "hello || echo none"); !strings.HasSuffix(out, "none") {
		t.Errorf("a job that asked for nothing said %q", out)
	}
}

// awaitPower waits until Slurm says that a node has a state.
func awaitPower(t *testing.T, b *testbed.Bed, node, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for {
		out, _ := b.Command(ctx, testbed.Head, "scontrol", "show", "node", node).Output()
		if strings.Contains(string(out), want) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("node %s is not %s: %s", node, want, out)
		}
		pause(t)
	}
}
