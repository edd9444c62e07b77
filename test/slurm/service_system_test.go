//go:build system

package slurm

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/testbed"
)

// serve starts slurmrestd as the user, on its login node, and returns its address.
func (l *lab) serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(l.user.HomeDir, "rest")
	cmd := exec.Command("setpriv", "--reuid", l.user.Uid, "--regid", l.user.Gid, "--init-groups", "--pdeathsig", "KILL",
		"slurmrestd", "-f", filepath.Join(l.slurm.Folder(), "slurm.conf"), "-s", "openapi/v0.0.38", "-a", "rest_auth/local", "unix:"+socket)
	log, err := os.Create(filepath.Join(l.slurm.Folder(), "log", "slurmrestd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 { // until it listens
		if _, err := os.Stat(socket); err == nil {
			return "unix:" + socket
		}
		pause(t)
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("slurmrestd does not listen: %s", said)
	return ""
}

// A login node without Slurm's commands has its service.
func TestJobsByTheService(t *testing.T) {
	l := newLab(t)
	at := l.serve(t)
	l.path = l.without(t)
	t.Run("a job on 4 hosts", func(t *testing.T) {
		c := l.start(t, "-n", "16", "--engine", "slurm", "--slurm-rest", at, "-i", l.given(t), "--", "sh", "-c", "cat given; hostname; grep -c ore.internal /etc/hosts")
		c.succeed()
		out := strings.Join(c.lines, "\n") + "\n"
		for _, m := range []string{"m0", "m7", "m15"} {
			if !strings.Contains(out, m+"\n") {
				t.Errorf("%s did not run: %s", m, out)
			}
		}
		if strings.Count(out, ": 16\n") != 16 || strings.Count(out, "given here\n") != 16 {
			t.Errorf("not what the machines should see: %s", out)
		}
		if s := c.said.String(); !strings.Contains(s, "16 machines on 4 of 4 hosts") {
			t.Errorf("it ran elsewhere: %s", s)
		}
		l.free(t, hosts...)
		log, err := os.ReadFile(filepath.Join(l.slurm.Folder(), "log", "jobcomp"))
		if err != nil || !strings.Contains(string(log), "JobState=COMPLETED") || !strings.Contains(string(log), "ProcCnt=16") {
			t.Errorf("Slurm's record: %v: %s", err, log)
		}
	})
	t.Run("scancel in the middle", func(t *testing.T) {
		c := l.start(t, "-n", "4", "--engine", "slurm", "--slurm-rest", at, "--", "sh", "-c", long)
		c.await("begun", 4)
		id := l.job(t)
		if j := must(t, l.Command(t.Context(), testbed.Head, "scontrol", "show", "job", id)); !strings.Contains(j, "Comment=ore job=") || !strings.Contains(j, " key=") {
			t.Errorf("for accounting there is %s", j)
		}
		must(t, l.Command(t.Context(), testbed.Head, "scancel", id))
		r, code := c.end()
		if code != ore.ExitFailed || r.Kind != ore.Failed || !strings.Contains(r.Error, "Slurm job "+id+": it was cancelled (scancel") {
			t.Errorf("exit code %d, %s, %q: %s", code, r.Kind, r.Error, c.said.String())
		}
		l.free(t, hosts...)
	})
	t.Run("ore is killed in the middle", func(t *testing.T) {
		c := l.start(t, "-n", "4", "--engine", "slurm", "--slurm-rest", at, "--", "sh", "-c", long)
		c.await("begun", 4)
		id := l.job(t)
		c.cmd.Process.Signal(syscall.SIGKILL)
		c.end()
		l.free(t, hosts...)
		if j, err := l.slurm.Job(t.Context(), id); err != nil || j["JobState"] == "RUNNING" {
			t.Errorf("job %s: %v, %v", id, j["JobState"], err)
		}
	})
	t.Run("cancelled while it waits in the queue", func(t *testing.T) {
		must(t, l.Command(t.Context(), testbed.Head, "scontrol", "update", "partitionname=main", "state=down"))
		defer must(t, l.Command(t.Context(), testbed.Head, "scontrol", "update", "partitionname=main", "state=up"))
		c := l.start(t, "-n", "4", "--engine", "slurm", "--slurm-rest", at, "--", "true")
		for l.queue(t) == "" {
			pause(t)
		}
		c.cmd.Process.Signal(syscall.SIGINT)
		if r, code := c.end(); code != ore.ExitCancelled {
			t.Errorf("exit code %d, %+v: %s", code, r, c.said.String())
		}
		if left := l.queue(t); left != "" {
			t.Errorf("left in the queue: %s", left)
		}
	})
}

// queue lists the jobs there are.
func (l *lab) queue(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(must(t, l.Command(t.Context(), testbed.Head, "squeue", "-h", "-o", "%i")))
}

// given is a file of the user's.
func (l *lab) given(t *testing.T) string {
	t.Helper()
	path := filepath.Join(l.user.HomeDir, "given")
	if err := os.WriteFile(path, []byte("given here\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// without returns a PATH that has all but Slurm's commands.
func (l *lab) without(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(l.user.HomeDir, "bin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"/usr/bin", "/usr/sbin"} {
		all, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			switch e.Name() {
			case "salloc", "srun", "sbcast", "sbatch", "scontrol", "sinfo", "squeue", "scancel", "sacct":
				continue
			}
			if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	return dir
}
