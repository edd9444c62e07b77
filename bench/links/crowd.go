package main

import (
	"runtime"

	"ore/plan"
	"ore/plan/hindsight"
)

// crowd is n hosts that do the same at once: here they have one computer's cores and
// one link to the cache between them, where hosts of a site have cores of their own.
type crowd struct {
	n    int
	load float64 // threads of others that want a core
	// busy is how many threads one host alone keeps busy, on an average of the time
	// that it takes: one that waits for half of its time leaves the cores to others.
	// 0 is as many as the plan has for each stage.
	busy float64
}

// stretch returns how many times as long as one alone n hosts take by having to share
// cores: what all of them want of the cores, as far as that is more than there is.
func (c crowd) stretch(cores int) float64 {
	if c.busy == 0 {
		return 1
	}
	wanted := func(n int) float64 { return max(1, (float64(n)*c.busy+c.load)/float64(max(1, cores))) }
	return wanted(c.n) / wanted(1)
}

// on returns a term as work of one of the hosts.
func (c crowd) on(t plan.Term) plan.Term {
	if c.busy == 0 {
		t.Copies = c.n
		t.Share = t.ShareUnder(c.load)
		return t
	}
	t.Copies = 1
	t.Share = t.ShareUnder(c.load) * c.stretch(t.Cores)
	return t
}

// over returns a fetch's term where all hosts fetch over one link: its bytes are all
// hosts', its requests are each one's, who need a core for them.
func (c crowd) over(t plan.Term) plan.Term {
	last := len(t.Amounts) - 1
	amounts := append([]float64(nil), t.Amounts...)
	for i := range amounts[:last] {
		amounts[i] *= c.stretch(runtime.NumCPU())
	}
	amounts[last] *= float64(c.n)
	t.Amounts = amounts
	return t
}

// Kinds of what hosts do, by how much of the time a core is busy.
const (
	fetching  = "fetching"
	restoring = "restoring" // and installing over it
	adding    = "adding"    // installing over a tree that is there
)

// kindOf says of what kind an option is, if known are its stages that were timed, or
// all of them.
func kindOf(known func(stage string) bool) string {
	switch {
	case known(plan.Pull):
		return fetching
	case known(plan.Restore):
		return restoring
	}
	return adding
}

func kindOfOption(o plan.Option) string {
	return kindOf(func(stage string) bool {
		for _, e := range o.Stages {
			if e.Stage == stage {
				return true
			}
		}
		return false
	})
}

func kindOfRun(r hindsight.Run) string {
	return kindOf(func(stage string) bool { return r.Actual[stage] > 0 })
}

// alone notes how busy a build kept a core that nobody built beside.
func (l *lab) alone(host int, d done) error {
	if l.busy == nil {
		return nil
	}
	r, err := l.lastRun(host)
	if err == nil {
		l.kept(kindOfRun(r), d)
	}
	return err
}

// kept notes how busy a command of that kind kept a core.
func (l *lab) kept(kind string, d done) {
	if l.busy != nil && d.took > 0 && d.cpu > 0 {
		l.busy[kind] = append(l.busy[kind], d.cpu/d.took)
	}
}

// crowd is n hosts that go the way of an option.
func (l *lab) crowd(o plan.Option, n int, load float64) crowd {
	c := crowd{n: n, load: load}
	if seen := l.busy[kindOfOption(o)]; len(seen) > 0 {
		c.busy = median(seen)
	}
	return c
}
