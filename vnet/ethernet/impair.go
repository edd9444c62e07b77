package ethernet

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Impairment makes a port's connection worse than it is. It applies to each
// direction, so that a round trip takes at least twice the latency. Frames stay
// in order. The zero value impairs nothing.
type Impairment struct {
	Latency time.Duration // added to every frame
	Jitter  time.Duration // up to so much more, evenly distributed
	Loss    float64       // the share of frames that are lost, 0 to 1
	Rate    int64         // bytes a second; 0 means no limit
	Seed    uint64        // of the random choices: the same seed loses the same frames
}

// lineBytes bounds what is under way in one direction of an impaired port:
// 100 ms at 80 MB/s. What comes on top is dropped, as in a router.
const lineBytes = 8 << 20

// lineCompact is how many places may stand empty at the front of a line before
// the rest moves up: enough that moving costs little for each frame.
const lineCompact = 256

// lines are the two directions of an impaired port.
type lines struct{ in, out *line }

// Impair sets how the port behaves from now on.
func (p *Port) Impair(i Impairment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	l := p.lines.Load()
	if l == nil {
		l = &lines{
			in:  newLine(p, func(f *Frame) { p.sw.forward(p, f) }),
			out: newLine(p, p.deliver),
		}
	}
	l.in.set(i, 0)
	l.out.set(i, 1)
	p.lines.Store(l)
}

// line is one direction: frames wait in it until they are due.
type line struct {
	port *Port
	next func(*Frame)
	wake chan struct{} // capacity 1: the head has changed, or the end has come
	done chan struct{} // closed when run has ended

	mu      sync.Mutex // guards the rest
	current Impairment
	random  *rand.Rand
	queue   []delayed // in the order of due
	head    int       // of queue
	bytes   int
	free    time.Time // when the rate lets the next frame start
	lastDue time.Time
	closed  bool
}

type delayed struct {
	f   *Frame
	due time.Time
}

func newLine(p *Port, next func(*Frame)) *line {
	l := &line{port: p, next: next, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// set changes the impairment; stream keeps the two directions' choices apart.
func (l *line) set(i Impairment, stream uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = i
	l.random = rand.New(rand.NewPCG(i.Seed, stream))
}

// push puts f on its way.
func (l *line) push(f *Frame) {
	l.mu.Lock()
	if l.closed || l.bytes+len(f.buf) > lineBytes {
		l.mu.Unlock()
		l.port.drop(f, Full)
		return
	}
	if l.current.Loss > 0 && l.random.Float64() < l.current.Loss {
		l.mu.Unlock()
		l.port.drop(f, Lost)
		return
	}
	l.queue = append(l.queue, delayed{f, l.due(f.n, time.Now())})
	l.bytes += len(f.buf)
	l.mu.Unlock()
	l.signal()
}

// signal makes run look again.
func (l *line) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// due returns when a frame of n bytes that comes now is to leave.
func (l *line) due(n int, now time.Time) time.Time {
	start := now
	if l.current.Rate > 0 {
		if l.free.After(start) {
			start = l.free
		}
		start = start.Add(time.Duration(float64(n) / float64(l.current.Rate) * float64(time.Second)))
		l.free = start
	}
	due := start.Add(l.current.Latency)
	if l.current.Jitter > 0 {
		due = due.Add(time.Duration(l.random.Int64N(int64(l.current.Jitter))))
	}
	if due.Before(l.lastDue) {
		due = l.lastDue
	}
	l.lastDue = due
	return due
}

// pop returns the first frame if it is due, else how long to wait for it; 0
// when nothing is under way.
func (l *line) pop() (f *Frame, wait time.Duration, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, 0, true
	}
	if l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
		return nil, 0, false
	}
	d := l.queue[l.head]
	if wait := time.Until(d.due); wait > 0 {
		return nil, wait, false
	}
	l.queue[l.head] = delayed{}
	l.head++
	if l.head > len(l.queue)/2 && l.head >= lineCompact {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	l.bytes -= len(d.f.buf)
	return d.f, 0, false
}

func (l *line) run() {
	defer close(l.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		f, wait, closed := l.pop()
		switch {
		case closed:
			return
		case f != nil:
			l.next(f)
		case wait == 0:
			<-l.wake
		default:
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-l.wake:
			}
		}
	}
}

// stop ends the line, drops what is under way and waits for its goroutine.
func (l *line) stop() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.queue[l.head:] {
		d.f.Release()
	}
	l.queue, l.head = nil, 0
}
