package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ore"
	"ore/node/agent"
	"ore/plan"
	"ore/site/learn"
	"ore/testbed"
)

// lent is some hosts with an agent each, and a head that jobs come from. The
// hosts have nothing but the program: no image, no kernel, no way to a mirror.
type lent struct {
	*person
	bed    *testbed.Bed
	dirs   string // where the hosts' folders are
	user   *user.User
	hosts  []string
	agents map[string]*exec.Cmd
	leases map[string]io.Closer
	flags  []string // --host, for each
}

// lend starts the hosts. Their agents keep their blobs in folders of their
// own, and end with the test.
func lend(t *testing.T, p *person, n int) *lent {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are network namespaces, which are root's: run it as root")
	}
	u, err := user.LookupId(strconv.Itoa(int(p.uid)))
	if err != nil {
		t.Fatal(err)
	}
	bed, err := testbed.Up(t.Context(), testbed.Config{Hosts: n})
	if err != nil {
		t.Fatal(err)
	}
	f := &lent{person: p, bed: bed, dirs: p.results(t), user: u, agents: map[string]*exec.Cmd{}, leases: map[string]io.Closer{}}
	t.Cleanup(func() {
		for host := range f.agents {
			f.dismiss(t, host)
		}
		if err := bed.Down(); err != nil {
			t.Errorf("the test bed does not end: %v", err)
		}
	})
	info, err := bed.Info()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range info.Hosts {
		if h.Name == testbed.Head {
			continue
		}
		f.hosts = append(f.hosts, h.Name)
		f.flags = append(f.flags, "--host", h.Name+"="+h.Address.String()+":7447")
		keys := p.file(t, h.Name+".keys", p.must(t, "hosts", "issue", h.Name).out)
		f.serve(t, h, keys)
	}
	return f
}

// serve starts the agent of a host and waits until it serves.
func (f *lent) serve(t *testing.T, h testbed.Host, keys string) {
	t.Helper()
	cmd := f.on(context.Background(), h.Name, "node", "--lease", "--trust", keys, "--dir", f.folder(h.Name),
		"--name", h.Name, "--listen", h.Address.String()+":7447")
	lease, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.agents[h.Name], f.leases[h.Name] = cmd, lease
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var r agent.Ready
	if err != nil || json.Unmarshal(line, &r) != nil || r.Name != h.Name || !strings.HasPrefix(r.Addr, h.Address.String()) {
		t.Fatalf("agent of %s says %q, %v", h.Name, line, err)
	}
}

func (f *lent) folder(host string) string { return filepath.Join(f.dirs, host) }

// dismiss ends an agent by its lease, and has the test fail if it leaves
// anything but blobs.
func (f *lent) dismiss(t *testing.T, host string) {
	t.Helper()
	f.leases[host].Close()
	if err := f.agents[host].Wait(); err != nil {
		t.Errorf("agent of %s: %v", host, err)
	}
	delete(f.agents, host)
	left, err := filepath.Glob(filepath.Join(f.folder(host), "lives", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the agent of %s left %v, %v", host, left, err)
	}
}

// on makes a command of the user's on a host.
func (f *lent) on(ctx context.Context, host string, args ...string) *exec.Cmd {
	cmd := f.bed.CommandAs(ctx, f.user, host, append([]string{filepath.Join(theWorld.dir, program)}, args...)...)
	cmd.Env = f.env
	return cmd
}

// run runs ore on the head, with all hosts.
func (f *lent) run(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	o := finish(t, f.on(ctx, testbed.Head, append(append([]string{"run", "-q"}, f.flags...), args...)...))
	if o.code != 0 {
		t.Fatalf("ore run %s: %v", strings.Join(args, " "), o)
	}
	return o
}

// came returns how many bytes came to each of the hosts, as the timeline says.
func came(r ore.Result) map[string]float64 {
	all := map[string]float64{}
	for _, s := range r.Timeline {
		var in float64
		if n, _ := fmt.Sscanf(s.Note, "%f MB in", &in); s.Name == "distribute" && n == 1 && in > 0 {
			all[s.Machine] += in
		}
	}
	return all
}

// on which host a machine was booted is seen from outside only by its agent.
func (f *lent) machines(t *testing.T) map[string][]string {
	t.Helper()
	out, err := f.on(t.Context(), testbed.Head, append([]string{"hosts", "--json"}, f.flags...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []struct{ Facts *agent.Facts }
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	on := map[string][]string{}
	for _, h := range all {
		if h.Facts == nil {
			continue
		}
		for _, j := range h.Facts.Jobs {
			on[h.Facts.Name] = append(on[h.Facts.Name], j.Machines...)
		}
	}
	return on
}

// sent is how many bytes have left a host.
func (f *lent) sent(t *testing.T, host string) int64 {
	t.Helper()
	n, err := f.bed.Sent(host)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stored is how many bytes of blobs a host has.
func (f *lent) stored(t *testing.T, host string) (total int64) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(f.folder(host), "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

// Machines run on hosts that had nothing; what they lack leaves its source once,
// and only the first time; they see each other; and an agent that is killed costs
// its own machines, which with retries start on another host.
func TestHosts(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q")
	p.must(t, "run", "-q", "--results", p.results(t), "--", "true") // the kernel is at hand now
	f := lend(t, p, 2)
	before := f.sent(t, testbed.Head)
	mounted := p.file(t, "given", strings.Repeat("big\n", 100_000))
	results := p.results(t)
	o := f.run(t, "-n", "4", "--mount", mounted+":/data/given", "--results", results, "--",
		"sh", "-c", "hostname; wc -l </data/given; grep -c ore.internal /etc/hosts")
	for _, m := range []string{"m0", "m1", "m2", "m3"} {
		if !strings.Contains(o.out, m+"\n") {
			t.Errorf("%s did not run: %v", m, o)
		}
	}
	if strings.Count(o.out, "100000\n") != 4 || strings.Count(o.out, ": 4\n") != 4 {
		t.Errorf("not what the machines should see: %v", o)
	}
	stored := f.stored(t, "h1")
	// On a busy machine a host may be silent for so long that another one turns to the
	// head for what is left of a transfer; but never for all.
	if out := f.sent(t, testbed.Head) - before; out > stored*19/10 {
		t.Errorf("%d bytes left the head, for %d that each of two hosts got", out, stored)
	}
	if len(came(result(t, results))) != 2 {
		t.Errorf("the timeline does not say what came to the hosts: %+v", result(t, results).Timeline)
	}
	results = p.results(t)
	f.run(t, "-n", "4", "--mount", mounted+":/data/given", "--results", results, "--", "true")
	if again := came(result(t, results)); len(again) != 0 {
		t.Errorf("the second time there came %v", again)
	}
	f.foresees(t)
	f.keeps(t)
	f.mishap(t, "sleep 8", func(host string) {
		if err := f.agents[host].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = f.agents[host].Wait() // it was killed
		delete(f.agents, host)
	})
}

// foresees has runs bring something new to the hosts: once that was seen, what it takes
// is predicted, for these hosts and by a chain, and the record has what it took.
func (f *lent) foresees(t *testing.T) {
	t.Helper()
	for _, name := range []string{"sl", "ncbi-data"} {
		f.must(t, "build", "-q", "-p", name) // there is no way to a mirror from the head
	}
	f.run(t, "-n", "2", "-p", "sl", "--results", f.results(t), "--", "true")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	o := finish(t, f.on(ctx, testbed.Head, append([]string{"plan", "-q", "--json", "-n", "2", "-p", "ncbi-data"}, f.flags...)...))
	var p plan.Plan
	if err := json.Unmarshal([]byte(o.out), &p); err != nil || o.code != 0 {
		t.Fatalf("ore plan: %v, %v", err, o)
	}
	f.run(t, "-n", "2", "-p", "ncbi-data", "--results", f.results(t), "--", "true")
	all, err := learn.Memory{Dir: filepath.Join(f.home, "state")}.Runs()
	if err != nil || len(all) == 0 {
		t.Fatalf("no run is kept: %v", err)
	}
	last := all[len(all)-1]
	for by, c := range map[string]plan.Option{"ore plan": p.Chosen(), "the record": last.Options[0]} {
		i := slices.IndexFunc(c.Stages, func(e plan.Estimate) bool { return e.Stage == plan.Distribute })
		if c.Distribution != plan.Chain || i < 0 || !c.Stages[i].Known || c.Stages[i].Seconds.Middle <= 0 || len(c.Links) < 2 {
			t.Errorf("%s foresees %s over %v: %+v", by, c.Distribution, c.Links, c.Stages)
		}
	}
	if last.Actual[plan.Distribute] <= 0 {
		t.Errorf("the record lacks what bringing the image took: %v", last.Actual)
	}
}

// keeps has machines kept on the hosts, used, and ended.
func (f *lent) keeps(t *testing.T) {
	t.Helper()
	ore := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		o := finish(t, f.on(ctx, testbed.Head, args...))
		if o.code != 0 {
			t.Fatalf("ore %s: %v", strings.Join(args, " "), o)
		}
		return o.out
	}
	ore(append([]string{"up", "-q", "--name", "far", "-n", "2"}, f.flags...)...)
	ore("grow", "far", "-n", "3")
	if on := f.machines(t); len(on["h1"])+len(on["h2"]) != 3 || len(on["h1"]) == 0 || len(on["h2"]) == 0 {
		t.Errorf("three machines that are kept are on %v", on)
	}
	if out := ore("exec", "far", "--", "sh", "-c", "hostname; getent hosts m2 | wc -l"); strings.Count(out, ": 1\n") != 3 || !strings.Contains(out, "2: m2\n") {
		t.Errorf("what machines that are kept say: %s", out)
	}
	ore("down", "far")
	if on := f.machines(t); len(on) != 0 {
		t.Errorf("after 'ore down' there is %v", on)
	}
}

// mishap has something happen to the last host in the middle of a job, whose
// machines do work meanwhile: those of that host start on others, and it has
// nothing of the job any more at the end.
func (f *lent) mishap(t *testing.T, work string, happen func(host string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := f.on(ctx, testbed.Head, append(append([]string{"run", "-q", "-n", "4", "--retries", "1", "--results", f.results(t), "-i", f.file(t, "mishap.in", "given")}, f.flags...),
		"--", "sh", "-c", "cat mishap.in; echo; echo begun; "+work+"; echo ended")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := f.hosts[len(f.hosts)-1]
	said, happened := map[string]int{}, false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		_, word, _ := strings.Cut(lines.Text(), ": ")
		said[word]++
		if said["begun"] == 4 && !happened {
			happened = true
			happen(last) // at once: a busy machine may take as long for a look around as the job works
		}
	}
	if err := cmd.Wait(); err != nil || said["ended"] != 4 || said["begun"] != 6 || said["given"] != 6 {
		t.Errorf("a host was lost: %v, the machines said %v: %s", err, said, errs.Bytes())
	}
	if left, err := filepath.Glob(filepath.Join(f.folder(last), "lives", "*", "jobs", "*")); err != nil || len(left) > 0 {
		t.Errorf("of the job there is left on the lost host: %v, %v", left, err)
	}
}
