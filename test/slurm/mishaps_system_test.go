//go:build system

package slurm

import (
	"fmt"
	"strings"
	"testing"

	"ore"
	"ore/testbed"
	slurmbed "ore/testbed/slurm"
)

// What Slurm and the world do to a job in its middle: the user is told what it was,
// and nothing of the job is left on hosts. Each is done to a job that was asked for
// by Slurm's commands, which is an interactive one to Slurm, and to one that was by
// its service, which is a batch job.
func TestMishapsOnSlurm(t *testing.T) {
	l := newLabWith(t, slurmbed.Config{
		Lines: []string{"PreemptType=preempt/partition_prio", "PreemptMode=REQUEUE", "JobRequeue=1", "TopologyPlugin=topology/tree"},
		Nodes: []string{"PartitionName=high Nodes=h[1-4] PriorityTier=10 PreemptMode=OFF State=UP"},
	})
	service := []string{"--slurm-rest", l.serve(t)}
	for name, how := range map[string][]string{"commands": nil, "service": service} {
		t.Run("walltime, "+name, func(t *testing.T) {
			c := l.start(t, append(how, "-n", "4", "--engine", "slurm", "--", "sh", "-c", long+"; sleep 200")...)
			c.await("begun", 4)
			id := l.job(t)
			must(t, l.Command(t.Context(), testbed.Head, "scontrol", "update", "jobid="+id, "timelimit=1"))
			l.over(t, c, id, "its time of ")
		})
		t.Run("preempted, "+name, func(t *testing.T) {
			c := l.start(t, append(how, "-n", "4", "--engine", "slurm", "--", "sh", "-c", long+"; sleep 200")...)
			c.await("begun", 4)
			id := l.job(t)
			must(t, l.Command(t.Context(), testbed.Head, "sbatch", "-p", "high", "-N4", "--exclusive", "-o", "/dev/null", "--chdir=/", "--wrap", "true"))
			l.over(t, c, id, "a job of higher priority took its hosts")
		})
		t.Run("requeued, "+name, func(t *testing.T) {
			c := l.start(t, append(how, "-n", "16", "--engine", "slurm", "--", "sh", "-c", long)...)
			c.await("begun", 16)
			id := l.job(t)
			for i, h := range hosts {
				want := []string{"--rack r1 --switch top", "--rack r2 --switch top"}[i/2]
				if out := must(t, l.Command(t.Context(), h, "sh", "-c", "ps -eo args= | grep '[n]ode --lease'")); !strings.Contains(out, want) {
					t.Errorf("the agent of %s does not say %s: %s", h, want, out)
				}
			}
			// Its owner is there and waits for it: a second start would find nobody. So
			// Slurm was told that this job is not to be requeued, and refuses.
			out, err := l.Command(t.Context(), testbed.Head, "scontrol", "requeue", id).CombinedOutput()
			if err == nil {
				t.Errorf("it was requeued: %s", out)
			}
			c.succeed()
			l.free(t, hosts...)
		})
		t.Run("a host is cut off, "+name, func(t *testing.T) {
			c := l.start(t, append(how, "-n", "16", "--cpus", "1", "--engine", "slurm", "--retries", "1", "--", "sh", "-c", long+"; sleep 20")...)
			c.await("begun", 16)
			if err := l.Part(t.Context(), "h2"); err != nil {
				t.Fatal(err)
			}
			r := c.succeed()
			if len(r.Ranks) != 16 {
				t.Errorf("%d ranks", len(r.Ranks))
			}
			l.free(t, "h1", "h3", "h4")
			if err := l.Heal(t.Context(), "h2"); err != nil {
				t.Fatal(err)
			}
			l.free(t, hosts...)
		})
	}
}

// over waits for the end of a job that Slurm ended, and looks at what is told.
func (l *lab) over(t *testing.T, c *call, id, words string) {
	t.Helper()
	r, code := c.end()
	want := fmt.Sprintf("Slurm job %s: %s", id, words)
	if code != ore.ExitFailed || r.Kind != ore.Failed || !strings.Contains(r.Error, want) {
		t.Errorf("exit code %d, %s, %q, want %q: %s", code, r.Kind, r.Error, want, c.said.String())
	}
	l.free(t, hosts...)
}
