package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/deb/debtest"
)

// What jobs do to their machines stays there; ore tells it and goes on.
func TestJobsThatMisbehave(t *testing.T) {
	p := someone(t)
	for _, c := range []struct {
		summary string
		flags   []string
		script  string
		code    int
		out     string
		words   []string
	}{
		{"takes more memory than there is", []string{"-m", "96M"}, `perl -e 'push @x, "x" x 1_000_000 while 1'; echo "perl: $?"`, 0, "perl: 137\n",
			[]string{"machine m0: out of memory: its kernel killed perl: give machines more memory than 96 MiB"}},
		{"forks without end", []string{"--timeout", "5s"}, `perl -e 'fork while 1'`, ore.ExitTimeout, "", []string{"time limit of 5s reached"}},
		{"fills its disk", []string{"--disk", "64M"}, "cat /dev/zero >/big; rm /big; echo freed", 0, "freed\n", []string{"No space left on device"}},
		{"breaks its network", nil, cutNetwork, 0, "the DNS answers\ncut\nthe DNS is out of reach\nstill here\n", nil},
		{"ends every process that it can", nil, "sleep 1000 & kill -9 -1; echo alone", 0, "alone\n", nil},
		{"leaves a process behind", nil, "sleep 1000 & echo left", 0, "left\n", nil},
		{"closes its output and goes on", nil, "exec >&- 2>&-; sleep 0.2; exit 4", 4, "", nil},
	} {
		t.Run(c.summary, func(t *testing.T) {
			args := append([]string{"run", "-q", "--results", p.results(t)}, c.flags...)
			o := p.ore(t, append(args, "--", "sh", "-c", c.script)...)
			if o.code != c.code || o.out != c.out {
				t.Errorf("want exit code %d, stdout %q: %v", c.code, c.out, o)
			}
			for _, w := range c.words {
				if !strings.Contains(o.err, w) {
					t.Errorf("does not say %q: %v", w, o)
				}
			}
		})
	}
}

// A small machine that has no memory left does not keep anybody waiting: its
// kernel kills at once what took it, and not after reading its programs again and
// again for a minute. What is killed while it reads a program's block leaves that
// block readable: nobody else ends by it.
func TestMemoryThatRunsOut(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q") // which may be the first
	least := deadline
	for range 3 {
		o := p.ore(t, "run", "-q", "-m", "80M", "--results", p.results(t), "--", "sh", "-c", `perl -e 'push @x, "x" x 1_000_000 while 1'; echo "perl: $?"; dmesg | grep SQUASHFS >&2; exit 0`)
		if strings.Contains(o.err, "SQUASHFS error") {
			t.Errorf("a block of the layer is lost: %v", o)
		}
		if o.code != 0 || o.out != "perl: 137\n" || !strings.Contains(o.err, "out of memory: its kernel killed perl") {
			t.Errorf("%v", o)
		}
		least = min(least, o.took)
	}
	if least > soon {
		t.Errorf("the quickest took %v", least)
	}
}

// soon is far above the two seconds that this takes, on a busy machine, and below
// what it took before somebody called the killer.
const soon = 40 * time.Second

// What a machine said before its kernel panicked is kept, and its console shown.
func TestKernelPanic(t *testing.T) {
	p := someone(t)
	in, word, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer word.Close()
	r := p.beginFed(t, in, "run", "-q", "--results", p.results(t), "--", "sh", "-c", "echo before; read x; echo c >/proc/sysrq-trigger; sleep 1000")
	r.saw(t, "before\n")
	if _, err := word.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	o := r.end(t)
	if o.code != ore.ExitFailed || o.out != "before\n" {
		t.Errorf("%v", o)
	}
	for _, w := range []string{"machine m0 is lost: kernel panic: 'ore run --retries'", "the end of its console"} {
		if !strings.Contains(o.err, w) {
			t.Errorf("does not say %q: %v", w, o)
		}
	}
}

// cutNetwork shows that the network works, takes the interface down with the ioctl SIOCSIFFLAGS
// (netdevice(7)), since the base has no program for that.
const cutNetwork = `
ask() { getent -s hosts:dns hosts m0 >/dev/null && echo the DNS answers || echo the DNS is out of reach; }
ask
perl -MSocket -e 'socket(S, AF_INET, SOCK_DGRAM, 0) or die; for (glob "/sys/class/net/*") { s,.*/,,;
	ioctl(S, 0x8914, pack("a16 s x22", $_, 0)) or die "$_: $!" }' && grep -c up /sys/class/net/*/operstate >/dev/null || echo cut
ask
echo still here`

// machinePids are the first processes of the machine's hypervisor.
func (p *person) machinePids(t *testing.T, machine string) []int {
	t.Helper()
	list, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if bytes.Contains(line, []byte(p.home)) && bytes.Contains(line, []byte("/machine-"+machine+"/")) {
			all = append(all, pid)
		}
	}
	if len(all) == 0 {
		t.Fatalf("machine %s: no process", machine)
	}
	return all
}

// supervisors are the processes that own the user's machines.
func (p *person) supervisors(t *testing.T) []int {
	t.Helper()
	all := p.anySupervisors()
	if len(all) == 0 {
		t.Fatal("no supervisor runs")
	}
	return all
}

func (p *person) anySupervisors() []int {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	var all []int
	for _, line := range lines {
		words, _ := os.ReadFile(line) // empty once the process has ended
		if !bytes.Contains(words, []byte("\x00supervise\x00"+p.home)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line))); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

func kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
}

const waiting = "echo ready; while [ ! -e go ]; do sleep 0.1; done; echo done"

func TestHypervisorKilledFromOutside(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	r := p.begin(t, "run", "-q", "-n", "2", "--results", results, "-o", "done", "--", "sh", "-c", "echo ready $ORE_RANK; [ $ORE_RANK = 0 ] && echo >done && exit 0; sleep 1000")
	r.saw(t, "0: ready 0\n")
	r.saw(t, "1: ready 1\n")
	p.await(t, "what the other machine had made", func() bool {
		home, err := filepath.Glob(filepath.Join(results, "*", "0", "done"))
		return err == nil && len(home) == 1
	})
	kill(t, p.machinePids(t, "m1")...)
	o := r.end(t)
	if o.code != ore.ExitFailed || !strings.Contains(o.err, "machine m1 is lost: signal: killed") {
		t.Errorf("%v", o)
	}
	res := result(t, results)
	if res.Ranks[0].Kind != ore.Finished || res.Ranks[1].Kind != ore.Failed {
		t.Errorf("ranks %+v", res.Ranks)
	}
	if got := read(t, only(t, results), "0", "stdout"); got != "ready 0\n" {
		t.Errorf("what the other machine had finished: %q", got)
	}
}

func TestRetriesStartALostMachineAgain(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	p.file(t, "input", "wait\n")
	r := p.begin(t, "run", "-q", "--retries", "1", "--results", results, "-i", "input", "-o", "out", "--", "sh", "-c",
		`cat input; echo ready; [ "$(cat input)" = go ] || sleep 1000; [ ! -e dirt ] && echo "$(cat input)" >out; exit 3`)
	r.saw(t, "ready")
	p.file(t, "input", "go\n") // inputs are put there again: this is how the job knows
	kill(t, p.machinePids(t, "m0")...)
	o := r.end(t)
	if o.code != 3 || o.out != "wait\nready\ngo\nready\n" {
		t.Errorf("the job did not end by itself on the second machine: %v", o)
	}
	if got := read(t, only(t, results), "0", "out"); got != "go\n" {
		t.Errorf("output %q", got)
	}
	if res := result(t, results); res.Kind != ore.Finished || res.ExitCode != 3 {
		t.Errorf("%+v", res)
	}
}

// Each of these processes may be killed: then all of the job is gone at once,
// and the next command works.
func TestKilled(t *testing.T) {
	p := someone(t)
	for _, c := range []struct {
		summary string
		victims func(r *running) []int
		exits   int // of ore, where it lives on
	}{
		{"ore", func(r *running) []int { return []int{r.cmd.Process.Pid} }, -1},
		{"the supervisor", func(*running) []int { return p.supervisors(t) }, ore.ExitFailed},
		{"both", func(r *running) []int { return append(p.supervisors(t), r.cmd.Process.Pid) }, -1},
	} {
		t.Run(c.summary, func(t *testing.T) {
			p := someone(t)
			results := p.results(t)
			r := p.begin(t, "run", "-q", "-n", "2", "--results", results, "--", "sh", "-c", waiting)
			r.saw(t, "0: ready\n")
			r.saw(t, "1: ready\n")
			kill(t, c.victims(r)...)
			o := r.end(t)
			if o.code != c.exits {
				t.Errorf("exit code %d, want %d: %v", o.code, c.exits, o)
			}
			if c.exits > 0 && !strings.Contains(o.err, "supervisor of the job ended") {
				t.Errorf("does not say why: %v", o)
			}
			p.settled(t)
			if got := read(t, only(t, results), "0", "stdout"); got != "ready\n" {
				t.Errorf("what had come home: %q", got)
			}
			p.must(t, "run", "-q", "--results", p.results(t), "--", "true")
		})
	}
}

// settled waits until all processes of the user are gone, without a command
// that would sweep: they end by themselves.
func (p *person) settled(t *testing.T) {
	t.Helper()
	p.await(t, "the end of all processes", func() bool {
		all, err := p.processes()
		return err == nil && len(all) == 0
	})
}

// One environment asked for twice at once is built once.
func TestOneBuildForTwo(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q")
	p.file(t, "step.yaml", fmt.Sprintf("name: twice\nenvironment:\n  steps:\n    - {name: s, run: 'date +%%s%%N >/opt/stamp; sleep 2 # %s'}\n", p.dir))
	var runs []*running
	for range 2 {
		runs = append(runs, p.begin(t, "run", "-q", "-f", "step.yaml", "--results", p.results(t), "--", "cat", "/opt/stamp"))
	}
	var stamps []string
	for _, r := range runs {
		o := r.end(t)
		if o.code != 0 {
			t.Errorf("%v", o)
		}
		stamps = append(stamps, o.out)
	}
	if stamps[0] != stamps[1] || stamps[0] == "" {
		t.Errorf("stamps %q: the step ran twice", stamps)
	}
}

// Mirrors that are down or lie: the fault is named, and nothing is built.
func TestBadMirrors(t *testing.T) {
	p := someone(t)
	a := debtest.New(t, debtest.Package{
		Name: "base-files", Fields: map[string]string{"Essential": "yes", "Priority": "required"}, Files: map[string]string{"etc/x": "x"},
	})
	key := p.file(t, "mirror.asc", string(a.Key))
	wrong := p.file(t, "wrong.asc", string(debtest.New(t, debtest.Package{Name: "base-files"}).Key))
	for _, c := range []struct {
		summary, keyring string
		fault            debtest.Fault
		word             string
	}{
		{"another's signature", wrong, nil, "sign"},
		{"down", key, debtest.Down, "503"},
		{"no such suite", key, debtest.Missing("InRelease"), "no such suite"},
		{"a wrong index", key, debtest.Corrupted("binary-amd64"), "hash"},
		{"a wrong package", key, debtest.Corrupted(".deb"), "base-files"},
		{"a short package", key, debtest.Short(".deb"), "base-files"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			fresh := *p // who has nothing yet, so that all is asked of the mirror
			fresh.home = filepath.Join(p.results(t), "h")
			fresh.env = append(append([]string{}, p.env...), "ORE_HOME="+fresh.home)
			a.Break(c.fault)
			defer a.Break(nil)
			fresh.refused(t, ore.ExitFailed, []string{c.word},
				"build", "-q", "--mirror", a.URL, "--keyring", c.keyring, "--base", "debian/"+debtest.Suite)
			if left := fresh.traces(t); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// A disk that is full is said to be, and what was there before still works.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this test mounts a small disk: run it as root")
	}
	p := *as(t, subIDs)
	p.must(t, "build", "-q")
	dir := filepath.Join(theWorld.dir, "full")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=120M,uid=%d,gid=%d", p.uid, p.gid), "full", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	small := p
	small.home = filepath.Join(dir, "h")
	small.env = append([]string{}, p.env...)
	small.env = append(small.env, "ORE_HOME="+small.home)
	small.refused(t, ore.ExitFailed, []string{"space", "free some"}, "run", "-q", "--results", p.results(t), "--", "true")
	small.settled(t)
	if left, err := small.files(); err != nil || len(left) > 0 {
		t.Errorf("left on the full disk: %v, %v", left, err)
	}
}

// A gigabyte of output goes to the file, not into memory.
func TestJobThatPrintsMuch(t *testing.T) {
	p := someone(t)
	results := p.results(t)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := p.command(ctx, "run", "-q", "--results", results, "--", "head", "-c", strconv.Itoa(much), "/dev/zero")
	if err := cmd.Run(); err != nil { // its output goes to /dev/null
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(only(t, results), "0", "stdout"))
	if err != nil || info.Size() != much {
		t.Errorf("kept output: %v, %v; want %d bytes", info, err, much)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		t.Fatal("no usage")
	}
	if usage.Maxrss > 150<<10 {
		t.Errorf("ore took %d KiB of memory", usage.Maxrss)
	}
}
