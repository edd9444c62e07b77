//go:build system

package main

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ore"
)

// seed of the moments at which processes are killed; 0 draws one.
var seed = flag.Uint64("kill-seed", 0, "seed of the moments at which processes are killed")

// kills is how many runs are killed: each meets another moment of a run.
const kills = 15

// ore is killed at any moment of a run that resolves, builds, starts, runs and
// releases: nothing is left, and what was finished before is used after.
func TestKilledAtAnyMoment(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q")
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("kill-seed %d", *seed)
	draw := rand.New(rand.NewPCG(*seed, 0))
	whole := p.whole(t)
	for i := range kills {
		images := p.images(t)
		for key, e := range images { // that of hello is not
			if e.Packages > baseSize(images) {
				p.must(t, "images", "rm", string(key))
			}
		}
		r := p.begin(t, "run", "-q", "-n", "2", "-p", "hello", "--results", p.results(t), "--", "hello")
		after := time.Duration(draw.Int64N(int64(whole)))
		timer := time.NewTimer(after) // the moment is the point of the test
		<-timer.C
		victims := []int{r.cmd.Process.Pid}
		both := i%3 == 2
		if both {
			victims = append(p.anySupervisors(), victims...)
		}
		kill(t, victims...)
		r.end(t)
		t.Logf("killed after %v of %v, supervisor too: %v", after, whole, both)
		p.settled(t)
		if !both {
			left, err := below(filepath.Join(p.home, "run"))
			if err != nil {
				t.Fatal(err)
			}
			p.await(t, "the janitor", func() bool { left, err = below(filepath.Join(p.home, "run")); return err == nil && len(left) == 0 })
		}
		if o := p.must(t, "run", "-q", "-p", "hello", "--results", p.results(t), "--", "hello"); o.out != "Hello, world!\n" {
			t.Fatalf("killed after %v of %v: then: %v", after, whole, o)
		}
	}
	p.must(t, "images", "verify")
}

// whole is how long such a run takes.
func (p *person) whole(t *testing.T) time.Duration {
	t.Helper()
	return p.must(t, "run", "-q", "-n", "2", "-p", "hello", "--results", p.results(t), "--", "hello").took
}

// baseSize is the number of packages of the smallest image.
func baseSize(all map[ore.Key]entry) int {
	least := 0
	for _, e := range all {
		if least == 0 || e.Packages < least {
			least = e.Packages
		}
	}
	return least
}

// A machine that hangs is ended with its job.
func TestMachineThatHangs(t *testing.T) {
	p := someone(t)
	r := p.begin(t, "run", "-q", "--timeout", "3s", "--results", p.results(t), "--", "sh", "-c", "echo ready; sleep 1000")
	r.saw(t, "ready")
	for _, pid := range p.machinePids(t, "m0") {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
	if o := r.end(t); o.code != ore.ExitTimeout {
		t.Errorf("not exit code 124: %v", o)
	}
}
