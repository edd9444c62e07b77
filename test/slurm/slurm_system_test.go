//go:build system

// Package slurm runs whole jobs on real Slurm: slurmctld, slurmd, salloc, srun and
// sbcast on a bed of four hosts, by an ordinary user whose login node this host is.
// Hosts have a /home and a /tmp of their own: they have nothing of ore beforehand.
package slurm

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/testbed"
	slurmbed "ore/testbed/slurm"
)

// deadline ends a command that hangs; the slowest builds an image.
const deadline = 8 * time.Minute

// lab is the cluster, and the user on its login node.
type lab struct {
	*testbed.Bed
	slurm   *slurmbed.Cluster
	user    *user.User
	program string
	path    string   // where the user's programs are
	hits    []string // of the search on one machine
}

func newLab(t *testing.T) *lab { return newLabWith(t, slurmbed.Config{}) }

func newLabWith(t *testing.T, c slurmbed.Config) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("hosts are made of namespaces, and users are made: this needs root")
	}
	name := fmt.Sprintf("sys-%d-%d", os.Getpid(), rand.IntN(1e6))
	b, err := testbed.Up(t.Context(), testbed.Config{Name: name, Hosts: 4, Join: true, Private: []string{"/home", "/tmp"}})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{Bed: b, path: "/usr/bin:/bin"}
	t.Cleanup(func() { l.down(t) })
	// Two racks below one switch (topology.conf(5)), for who asks for the plugin.
	racks := "SwitchName=r1 Nodes=h[1-2]\nSwitchName=r2 Nodes=h[3-4]\nSwitchName=top Switches=r[1-2]\n"
	folder := slurmbed.Of(b).Folder()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "topology.conf"), []byte(racks), 0o644); err != nil {
		t.Fatal(err)
	}
	if l.slurm, err = slurmbed.Start(t.Context(), b, c); err != nil {
		t.Fatal(err)
	}
	must(t, exec.Command("useradd", "--create-home", "--shell", "/bin/sh", name))
	t.Cleanup(func() { must(t, exec.Command("userdel", "--remove", "--force", name)) })
	if l.user, err = user.Lookup(name); err != nil {
		t.Fatal(err)
	}
	// Below the user's home, which hosts do not have: the program has to come.
	l.program = filepath.Join(l.user.HomeDir, "ore")
	build := exec.Command("go", "build", "-trimpath", "-o", l.program, "./cmd/ore")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return l
}

// environ is the user's environment.
func (l *lab) environ() []string {
	return []string{"PATH=" + l.path, "HOME=" + l.user.HomeDir, "USER=" + l.user.Username,
		"SLURM_CONF=" + filepath.Join(l.slurm.Folder(), "slurm.conf"), "ORE_MIRROR=" + os.Getenv("ORE_MIRROR")}
}

func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v: %s", cmd.Args, err, out)
	}
	return string(out)
}

func (l *lab) down(t *testing.T) {
	if t.Failed() {
		log, _ := os.ReadFile(filepath.Join(l.slurm.Folder(), "log", "slurmctld.log"))
		t.Logf("slurmctld: %s", log[max(0, len(log)-3000):])
	}
	if err := l.Down(); err != nil {
		t.Error(err)
	}
}

// ore is one call of the program.
type call struct {
	t       *testing.T
	cmd     *exec.Cmd
	results string
	out     *bufio.Scanner
	said    bytes.Buffer
	lines   []string
	cancel  context.CancelFunc
}

// start starts ore as the user, in its home.
func (l *lab) start(t *testing.T, args ...string) *call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	c := &call{t: t, cancel: cancel, results: filepath.Join(l.user.HomeDir, fmt.Sprint("results-", rand.IntN(1e9)))}
	c.cmd = exec.CommandContext(ctx, "setpriv", append([]string{"--reuid", l.user.Uid, "--regid", l.user.Gid, "--init-groups",
		l.program, "run", "--results", c.results}, args...)...)
	c.cmd.Dir = l.user.HomeDir
	c.cmd.Env = l.environ()
	c.cmd.Stderr = &c.said
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		c.cmd.Wait()
	})
	return c
}

// await reads output until n lines with word in them have come.
func (c *call) await(word string, n int) {
	c.t.Helper()
	for n > 0 && c.out.Scan() {
		c.lines = append(c.lines, c.out.Text())
		if strings.Contains(c.out.Text(), word) {
			n--
		}
	}
	if n > 0 {
		c.cmd.Wait()
		c.t.Fatalf("%d lines with %q are missing: %q: %s", n, word, c.lines, c.said.String())
	}
}

// end waits for the end and returns the result and the exit code.
func (c *call) end() (ore.Result, int) {
	c.t.Helper()
	for c.out.Scan() {
		c.lines = append(c.lines, c.out.Text())
	}
	c.cmd.Wait()
	var r ore.Result
	found, _ := filepath.Glob(filepath.Join(c.results, "*", "result.json"))
	if len(found) == 1 {
		b, err := os.ReadFile(found[0])
		if err == nil {
			err = json.Unmarshal(b, &r)
		}
		if err != nil {
			c.t.Errorf("%s: %v", found[0], err)
		}
	}
	return r, c.cmd.ProcessState.ExitCode()
}

// succeed waits for the end, which has to be a good one.
func (c *call) succeed() ore.Result {
	c.t.Helper()
	r, code := c.end()
	if code != 0 || r.Kind != ore.Finished {
		c.t.Fatalf("exit code %d, %s: %s", code, r.Kind, c.said.String())
	}
	return r
}

// hits are the lines of all ranks' answers, sorted.
func (c *call) hits() []string {
	c.t.Helper()
	files, _ := filepath.Glob(filepath.Join(c.results, "*", "*", "hits.tsv"))
	var all []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			c.t.Error(err)
		}
		all = append(all, strings.Split(strings.TrimSpace(string(b)), "\n")...)
	}
	slices.Sort(all)
	return all
}

// job is the number of the job that runs.
func (l *lab) job(t *testing.T) string {
	t.Helper()
	id := strings.TrimSpace(must(t, l.Command(t.Context(), testbed.Head, "squeue", "-h", "-o", "%i")))
	if id == "" || strings.Contains(id, "\n") {
		t.Fatalf("jobs: %q, want one", id)
	}
	return id
}

// free waits until hosts are idle, and looks for what a job has left there.
func (l *lab) free(t *testing.T, hosts ...string) {
	t.Helper()
	if err := l.slurm.Await(t.Context(), len(hosts)); err != nil {
		t.Error(err)
	}
	for _, h := range hosts {
		out := must(t, l.Command(t.Context(), h, "sh", "-c", `ps -eo pid=,args= | grep -v "ps -eo" | grep -E "[n]ode --lease|[l]inux.uml|[d]ev/tcp|[s]upervise" || :; ls -d /tmp/ore-[0-9]*-???????? /tmp/ore-*/lives/* 2>/dev/null || :`))
		if out != "" {
			t.Errorf("left on %s: %s", h, out)
		}
	}
}

var hosts = []string{"h1", "h2", "h3", "h4"}

// long is a job that says that it has begun, works for some seconds, and says
// where it ran.
const long = `echo begun; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1; done; echo done >done.txt; echo done`

func TestJobsOnSlurm(t *testing.T) {
	l := newLab(t)
	t.Run("BLAST on 16 machines of 4 hosts equals one of this host", func(t *testing.T) { l.blast(t) })
	t.Run("BLAST, and the controller is restarted in the middle", func(t *testing.T) { l.controller(t) })
	t.Run("BLAST, and a host crashes in the middle", func(t *testing.T) { l.crashOfBLAST(t, "h4") })
	t.Run("BLAST, and scancel in the middle", func(t *testing.T) { l.scancel(t) })
	t.Run("ore is killed in the middle", func(t *testing.T) { l.killed(t) })
	t.Run("a host crashes in the middle, without retries", func(t *testing.T) { l.crash(t, "h2", 0) })
	t.Run("a host crashes in the middle, with retries", func(t *testing.T) { l.crash(t, "h3", 1) })
}

// slowly is the search of the example in as many steps as there are queries, so that
// it has a middle: it says when it has begun, which is after its first step.
const slowly = `#!/bin/sh -e
awk -v n="$ORE_SIZE" -v r="$ORE_RANK" '/^>/ { mine = i++ % n == r; f = sprintf("part-%03d.fa", i) } mine { print >f }' /opt/blast/query.fa
for f in part-*.fa; do
  blastp -db /opt/blast/dolphin -query $f -evalue 1e-20 -outfmt 6 >>hits.tsv
  case $said in begun) ;; *) said=begun; echo begun;; esac
done
`

// jobs writes the example's job file and one that does the same slowly below the
// user's home.
func (l *lab) jobs(t *testing.T) (quick, slow string) {
	t.Helper()
	file, err := os.ReadFile("../../examples/blast/job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	quick, slow = filepath.Join(l.user.HomeDir, "job.yaml"), filepath.Join(l.user.HomeDir, "slowly.yaml")
	head, _, ok := strings.Cut(string(file), "  script: |\n")
	if !ok {
		t.Fatal("the example has no script")
	}
	head += "  outputs: [hits.tsv]\n  script: |\n    " + strings.ReplaceAll(strings.TrimSpace(slowly), "\n", "\n    ") + "\n"
	for path, text := range map[string]string{quick: string(file), slow: head} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return quick, slow
}

// same compares the hits of a call with those of one machine.
func (l *lab) same(t *testing.T, c *call) {
	t.Helper()
	if found := c.hits(); len(l.hits) < 100 || !slices.Equal(found, l.hits) {
		t.Errorf("%d hits on one machine, %d on many", len(l.hits), len(found))
	}
}

func (l *lab) blast(t *testing.T) {
	path, _ := l.jobs(t)
	one := l.start(t, "-n", "1", "-f", path)
	one.succeed()
	l.hits = one.hits()
	many := l.start(t, "-n", "16", "--engine", "slurm", "-f", path)
	r := many.succeed()
	l.same(t, many)
	machines := map[string]bool{}
	for _, p := range r.Ranks {
		machines[p.Machine] = true
	}
	if len(machines) != 16 {
		t.Errorf("%d machines did it", len(machines))
	}
	if s := many.said.String(); !strings.Contains(s, "16 machines on 4 of 4 hosts") {
		t.Errorf("it ran elsewhere: %s", s)
	}
	l.free(t, hosts...)
	log, err := os.ReadFile(filepath.Join(l.slurm.Folder(), "log", "jobcomp"))
	if err != nil || !strings.Contains(string(log), "JobState=COMPLETED") || !strings.Contains(string(log), "ProcCnt=16") {
		t.Errorf("Slurm's record: %v: %s", err, log)
	}
}

func (l *lab) controller(t *testing.T) {
	_, slow := l.jobs(t)
	c := l.start(t, "-n", "16", "--engine", "slurm", "-f", slow)
	c.await("begun", 1)
	id := l.job(t)
	l.saved(t)
	if err := l.slurm.KillController(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.slurm.StartController(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.succeed()
	l.same(t, c)
	l.free(t, hosts...)
	if j, err := l.slurm.Job(t.Context(), id); err != nil || j["JobState"] == "RUNNING" {
		t.Errorf("job %s: %v, %v", id, j["JobState"], err)
	}
}

// saved returns when the controller has saved its jobs, which it does each five
// seconds: what is younger it may forget. Nothing tells of it, since it does not
// write what has not changed.
func (l *lab) saved(t *testing.T) {
	c, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	<-c.Done()
}

// pause is the time between two looks at what another program does.
func pause(t *testing.T) {
	c, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	<-c.Done()
}

func (l *lab) scancel(t *testing.T) {
	_, slow := l.jobs(t)
	c := l.start(t, "-n", "16", "--engine", "slurm", "-f", slow)
	c.await("begun", 1)
	id := l.job(t)
	must(t, l.Command(t.Context(), testbed.Head, "scancel", id))
	r, code := c.end()
	if code != ore.ExitFailed || r.Kind != ore.Failed || !strings.Contains(r.Error, "Slurm job "+id+": it was cancelled (scancel") {
		t.Errorf("exit code %d, %s, %q: %s", code, r.Kind, r.Error, c.said.String())
	}
	l.free(t, hosts...)
}

func (l *lab) killed(t *testing.T) {
	c := l.start(t, "-n", "4", "--engine", "slurm", "--", "sh", "-c", long)
	c.await("begun", 4)
	id := l.job(t)
	c.cmd.Process.Signal(syscall.SIGKILL)
	c.end()
	l.free(t, hosts...)
	if j, err := l.slurm.Job(t.Context(), id); err != nil || j["JobState"] == "RUNNING" {
		t.Errorf("job %s: %v, %v", id, j["JobState"], err)
	}
}

// crashOfBLAST turns a host off in the middle of a search, of which all is found.
func (l *lab) crashOfBLAST(t *testing.T, host string) {
	_, slow := l.jobs(t)
	c := l.start(t, "-n", "16", "--engine", "slurm", "--retries", "1", "-f", slow)
	c.await("begun", 1)
	if err := l.Crash(host); err != nil {
		t.Fatal(err)
	}
	c.succeed()
	l.same(t, c)
	if s := c.said.String(); !strings.Contains(s, "trying again") {
		t.Errorf("no rank ran twice, so the crash was not in its middle: %s", s)
	}
	l.free(t, slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == host })...)
	if err := l.Boot(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	if err := l.slurm.Await(t.Context(), len(hosts)); err != nil {
		t.Error(err)
	}
}

// crash turns a host off under a job, and on again after it.
func (l *lab) crash(t *testing.T, host string, retries int) {
	c := l.start(t, "-n", "8", "--cpus", "1", "--engine", "slurm", "--salloc-option=--ntasks-per-node=2", "--retries", fmt.Sprint(retries), "--", "sh", "-c", long)
	c.await("begun", 8)
	if err := l.Crash(host); err != nil {
		t.Fatal(err)
	}
	r, code := c.end()
	done := 0
	for _, p := range r.Ranks {
		if p.Kind == ore.Finished && p.ExitCode == 0 {
			done++
		}
	}
	want := map[int]int{0: 6, 1: 8}[retries] // two of eight machines were there
	if done != want || (code == 0) != (want == 8) {
		t.Errorf("%d of 8 ranks finished, exit code %d, %s: %s: %s", done, code, cmp.Or(r.Error, "no error"), c.lines, c.said.String())
	}
	l.free(t, slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return h == host })...)
	if err := l.Boot(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	// What the crash left on its disk is swept by the next agent there.
	if err := l.slurm.Await(t.Context(), len(hosts)); err != nil {
		t.Error(err)
	}
}
