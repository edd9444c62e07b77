package ethernet

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Broadcast and multicast of one port: each such frame is copied to all
// machines of a job, so one sender could keep all of them busy. Name services
// and cluster membership protocols send tens a second.
const (
	floodRate  = 1000 // frames a second
	floodBurst = 256  // frames at once
)

// Port is one place of the switch.
type Port struct {
	sw     *Switch
	id     Identity
	outlet Outlet
	trunk  *Trunk // that the port's machine is behind, or nil
	flood  bucket

	lines atomic.Pointer[lines] // nil until Impair is called
	mu    sync.Mutex            // guards making lines, and gone
	gone  bool

	rxFrames, rxBytes atomic.Uint64 // from what is behind the port
	txFrames, txBytes atomic.Uint64 // to it
	dropped           [verdicts]atomic.Uint64
}

func newPort(s *Switch, id Identity, out Outlet) *Port {
	p := &Port{sw: s, id: id, outlet: out}
	p.flood.fill()
	return p
}

// apart reports whether nothing may go from p to another port: between two
// other hosts, and between another host and our gateway.
func (p *Port) apart(to *Port) bool {
	return p.trunk != nil && (to.trunk != nil || to.id.Router) || to.trunk != nil && p.id.Router
}

// Identity returns who the port is.
func (p *Port) Identity() Identity { return p.id }

// Input takes a frame that came from behind the port: checks it and sends it
// on. It takes over one reference and does not block.
func (p *Port) Input(f *Frame) {
	if v := Check(f.Bytes(), p.id, p.sw.pool.Max()); v != Pass {
		p.drop(f, v)
		return
	}
	p.rxFrames.Add(1)
	p.rxBytes.Add(uint64(f.n))
	if l := p.lines.Load(); l != nil {
		l.in.push(f)
		return
	}
	p.sw.forward(p, f)
}

// output sends a frame to what is behind the port.
func (p *Port) output(f *Frame) {
	if l := p.lines.Load(); l != nil {
		l.out.push(f)
		return
	}
	p.deliver(f)
}

func (p *Port) deliver(f *Frame) {
	n := f.n
	if !p.outlet.Deliver(f) {
		p.dropped[Full].Add(1)
		return
	}
	p.txFrames.Add(1)
	p.txBytes.Add(uint64(n))
}

func (p *Port) drop(f *Frame, v Verdict) {
	p.dropped[v].Add(1)
	f.Release()
}

// Unplug takes the port out of the switch, closes what is behind it where that
// is an io.Closer, and waits for all that ran for the port.
func (p *Port) Unplug() {
	p.sw.take(func(t *table) { t.remove(p) })
	if c, ok := p.outlet.(io.Closer); ok {
		c.Close() // closing tells the reader and the writer to end; there is no more to know
	}
	p.stop()
}

// stop ends what Impair had running for the port.
func (p *Port) stop() {
	p.mu.Lock()
	p.gone = true
	l := p.lines.Load()
	p.mu.Unlock()
	if l != nil {
		l.in.stop()
		l.out.stop()
	}
}

// Stats is what a port counted. Received is from what is behind the port, Sent
// is to it. Dropped frames are counted at the sender by what was wrong with
// them, and at the receiver when its queue was full.
type Stats struct {
	ReceivedFrames, ReceivedBytes uint64
	SentFrames, SentBytes         uint64
	Dropped                       map[string]uint64 // by the verdict's name; only what is not 0
}

// Stats returns the counts since the port was plugged in.
func (p *Port) Stats() Stats {
	s := Stats{
		ReceivedFrames: p.rxFrames.Load(), ReceivedBytes: p.rxBytes.Load(),
		SentFrames: p.txFrames.Load(), SentBytes: p.txBytes.Load(),
		Dropped: map[string]uint64{},
	}
	for v := range p.dropped {
		if n := p.dropped[v].Load(); n > 0 {
			s.Dropped[Verdict(v).String()] = n
		}
	}
	return s
}

// bucket limits a rate: it holds up to floodBurst tokens and gains floodRate a
// second.
type bucket struct {
	mu     sync.Mutex // guards the rest
	tokens float64
	last   time.Time
}

func (b *bucket) fill() { b.tokens, b.last = floodBurst, time.Now() }

func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(floodBurst, b.tokens+now.Sub(b.last).Seconds()*floodRate)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
