package main

import (
	"container/heap"
	"math"
	"math/rand/v2"
)

// engine is a discrete-event simulation of cores and links. Tasks of a host
// share its cores as a fair scheduler does, each using at most one; flows over a
// link share it evenly. Between two events all rates are constant, so the next
// end is known exactly.
type engine struct {
	now   float64
	rng   *rand.Rand
	hosts []*processor
	links []*pipe
	flows []*flow
	after timers
	count int
}

// processor is the cores of one host.
type processor struct {
	cores  float64
	load   float64 // threads of others at this time
	active []*task
	idle   []func() // what goes on once there is work again
}

// task is work of one thread, in seconds of a core.
type task struct {
	left float64
	done func()
}

// pipe is a link.
type pipe struct {
	rate  float64 // bytes in a second at this time
	flows int
}

// flow is bytes on their way over some links.
type flow struct {
	left  float64
	over  []*pipe
	done  func()
	ended bool
}

// timer calls a function at a time.
type timer struct {
	at    float64
	count int // the earlier made comes first of those at one time
	do    func()
}

type timers []timer

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].count < t[j].count
}
func (t timers) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push and Pop are heap.Interface's.
func (t *timers) Push(x any) { *t = append(*t, x.(timer)) }

// Pop removes the last element.
func (t *timers) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

// at calls do after some seconds.
func (e *engine) at(seconds float64, do func()) {
	e.count++
	heap.Push(&e.after, timer{at: e.now + seconds, count: e.count, do: do})
}

// work gives a host a task.
func (e *engine) work(p *processor, seconds float64, done func()) {
	p.active = append(p.active, &task{left: seconds, done: done})
	for _, do := range p.idle {
		e.at(0, do)
	}
	p.idle = nil
}

// send starts a flow.
func (e *engine) send(bytes float64, over []*pipe, done func()) {
	for _, l := range over {
		l.flows++
	}
	e.flows = append(e.flows, &flow{left: bytes, over: over, done: done})
}

// rate is what each task gets of a core.
func (p *processor) rate() float64 {
	return min(1, p.cores/(float64(len(p.active))+p.load))
}

func (f *flow) rate() float64 {
	r := math.Inf(1)
	for _, l := range f.over {
		r = min(r, l.rate/float64(l.flows))
	}
	return r
}

// run goes on until nothing is left to do, or until stop says so.
func (e *engine) run(stop func() bool) {
	for !stop() {
		step := math.Inf(1)
		if len(e.after) > 0 {
			step = e.after[0].at - e.now
		}
		for _, p := range e.hosts {
			if len(p.active) == 0 {
				continue
			}
			r := p.rate()
			for _, t := range p.active {
				step = min(step, t.left/r)
			}
		}
		for _, f := range e.flows {
			step = min(step, f.left/f.rate())
		}
		if math.IsInf(step, 1) {
			return
		}
		e.advance(max(0, step))
	}
}

// instant is the time below which an end counts as reached, against rounding.
const instant = 1e-9

// advance moves the time on and does what is due.
func (e *engine) advance(step float64) {
	var due []func()
	for _, p := range e.hosts {
		if len(p.active) == 0 {
			continue
		}
		r := p.rate()
		kept := p.active[:0]
		for _, t := range p.active {
			if t.left -= step * r; t.left <= instant*r {
				due = append(due, t.done)
			} else {
				kept = append(kept, t)
			}
		}
		p.active = kept
	}
	for _, f := range e.flows {
		r := f.rate()
		if f.left -= step * r; f.left <= instant*r {
			f.ended = true
		}
	}
	kept := e.flows[:0]
	for _, f := range e.flows {
		if !f.ended {
			kept = append(kept, f)
			continue
		}
		for _, l := range f.over {
			l.flows--
		}
		due = append(due, f.done)
	}
	e.flows = kept
	e.now += step
	for len(e.after) > 0 && e.after[0].at <= e.now+instant {
		due = append(due, heap.Pop(&e.after).(timer).do)
	}
	for _, do := range due {
		do()
	}
}

// each does all things with at most limit at once, and then what follows.
func (e *engine) each(n, limit int, do func(i int, done func()), then func()) {
	if n == 0 {
		e.at(0, then)
		return
	}
	next, left := 0, n
	var start func()
	start = func() {
		if next >= n {
			return
		}
		i := next
		next++
		do(i, func() {
			if left--; left == 0 {
				then()
				return
			}
			start()
		})
	}
	for range min(limit, n) {
		start()
	}
}

// vary draws a factor around 1 with a relative spread.
func vary(rng *rand.Rand, spread float64) float64 {
	return math.Exp(rng.NormFloat64()*spread - spread*spread/2)
}
