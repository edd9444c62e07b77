package conduct_test

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// fabric is a network for thousands of hosts in memory, in the time of a
// testing/synctest bubble. Each host has a link that all its streams share: what
// they send takes turns, of a packet each or as unevenly as is said, and what comes to one host from several
// waits in one queue before it. A packet is on both links at once, as bits are
// that pass a switch. What happens is done by one goroutine in the order of time.
//
// A byte of a chunk weighs as much as weight says: few bytes stand for many, so that
// thousands of transfers fit into one computer's memory and minutes. All else
// (handshakes, orders, reports, lists, heads) has its own size.
type fabric struct {
	packet  float64       // what leaves at once, in bytes that it weighs
	uneven  int           // streams' turns are of one to so many packets; zero is one
	weight  float64       // of a byte of a chunk
	latency time.Duration // from link to link
	origin  time.Time
	wake    chan struct{}
	ended   chan struct{}
	wait    sync.WaitGroup

	mu       sync.Mutex // guards all below, and what hosts and streams have
	random   *rand.Rand
	stations map[string]*station
	events   happenings
	number   int
	next     time.Duration // when the goroutine wakes
}

// quantum is how far apart things happen, as with network cards that tell of all
// packets that came in the last while at once. Rates stay exact.
const quantum = 100 * time.Microsecond

// streamWindow is what of a stream may wait at its sender, be under way and wait
// at its receiver.
const streamWindow = 256 << 10

func newFabric(seed uint64, packet, weight float64, latency time.Duration) *fabric {
	f := &fabric{random: rand.New(rand.NewPCG(seed, 2)), packet: packet, weight: weight, latency: latency, origin: time.Now(), wake: make(chan struct{}, 1), ended: make(chan struct{}), stations: map[string]*station{}}
	f.wait.Go(f.run)
	return f
}

// end ends the network. Its connections must be closed.
func (f *fabric) end() {
	close(f.ended)
	f.wait.Wait()
}

// happening is what is done at a time.
type happening struct {
	at     time.Duration
	number int
	do     func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[j].at), cmp.Compare(h[i].number, h[j].number)) < 0
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (f *fabric) now() time.Duration { return time.Since(f.origin) }

// at has something done, not before when. It is called with mu held, and so is do.
func (f *fabric) at(when time.Duration, do func()) {
	when = (when + quantum - 1) / quantum * quantum
	f.number++
	heap.Push(&f.events, happening{when, f.number, do})
	if when < f.next {
		f.next = when
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *fabric) run() {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		f.mu.Lock()
		f.next = 0 // nobody needs to wake us now
		now := f.now()
		for len(f.events) > 0 && f.events[0].at <= now {
			heap.Pop(&f.events).(happening).do()
		}
		f.next = now + time.Hour
		if len(f.events) > 0 {
			f.next = f.events[0].at
		}
		pause := f.next - now
		f.mu.Unlock()
		alarm.Reset(pause)
		select {
		case <-alarm.C:
		case <-f.wake:
		case <-f.ended:
			return
		}
	}
}

// station is a host.
type station struct {
	listener
	fabric *fabric
	rate   float64 // of its link in each direction, bytes a second

	upFree, downFree time.Duration // when what was put on its link is through
	busy             bool          // something is on its way up
	turns            []*stream     // who has something to send
	conns            map[*end]bool
	dead             bool // its connections were reset
	gone             bool // nothing comes from it or goes to it, and nobody is told
	pauses           []pause
}

func (f *fabric) add(name string, rate float64) *station {
	s := &station{listener: newListener(name), fabric: f, rate: rate, conns: map[*end]bool{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stations[name] = s
	return s
}

// kill ends a host as when its process dies: all that are connected hear of it.
func (s *station) kill() {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.dead = true
	for c := range s.conns {
		c.in.reset()
		c.out.reset()
	}
}

// vanish ends a host as when its cable breaks: nobody hears of it.
func (s *station) vanish() {
	s.fabric.mu.Lock()
	defer s.fabric.mu.Unlock()
	s.gone = true
}

// dial connects to the host that is called address.
func (s *station) dial(ctx context.Context, _, address string) (net.Conn, error) {
	f := s.fabric
	select { // there and back
	case <-time.After(2 * f.latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	to := f.stations[address]
	lost, refused := to != nil && (to.gone || s.gone), to == nil || to.dead || s.dead
	f.mu.Unlock()
	switch {
	case lost:
		select {
		case <-time.After(dialTimeout):
			return nil, fmt.Errorf("dial %s: %w", address, os.ErrDeadlineExceeded)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case refused:
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	}
	there, back := f.stream(s, to), f.stream(to, s)
	mine, other := &end{in: back, out: there, local: s, remote: to}, &end{in: there, out: back, local: to, remote: s}
	if err := to.reach(ctx, other); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.conns[mine], to.conns[other] = true, true
	if s.dead || to.dead {
		there.reset()
		back.reset()
	}
	return mine, nil
}

// dialTimeout is how long a host waits for one that does not answer.
const dialTimeout = 5 * time.Second

// segment is a piece of a stream.
type segment struct {
	bytes  []byte
	weight float64 // of each of them
}

// stream is one direction of a connection.
type stream struct {
	from, to   *station
	turn, sent int // packets in one turn, and those of this turn that have left
	some, room *sync.Cond
	load       float64   // what waits at the sender, is under way and waits at the receiver
	pending    []segment // at the sender
	waiting    bool      // for its turn
	flying     int       // packets
	arrived    []segment
	shut       bool  // nothing more is written
	fault      error // what its reader gets instead of what is not there yet
	deadline   time.Time
	alarm      *time.Timer
	rings      time.Time // when the alarm does; zero if it is not set
}

func (f *fabric) stream(from, to *station) *stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &stream{from: from, to: to, turn: 1 + f.random.IntN(max(f.uneven, 1)), some: sync.NewCond(&f.mu), room: sync.NewCond(&f.mu)}
}

// put takes in what is written.
func (s *stream) put(g segment) error {
	f := s.from.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	for s.load >= streamWindow && !s.shut {
		s.room.Wait()
	}
	if s.shut {
		return net.ErrClosed
	}
	s.load += float64(len(g.bytes)) * g.weight
	if s.from == s.to { // what a host says to itself goes over no link
		s.arrived = append(s.arrived, g)
		s.some.Signal()
		return nil
	}
	s.pending = append(s.pending, g)
	s.queue()
	return nil
}

// queue lets a stream wait for its turn.
func (s *stream) queue() {
	if !s.waiting && len(s.pending) > 0 {
		s.waiting = true
		s.from.turns = append(s.from.turns, s)
	}
	if from := s.from; !from.busy {
		from.upFree = max(from.upFree, from.fabric.now())
		from.send()
	}
}

// send puts the next packet on the host's link.
func (h *station) send() {
	h.busy = len(h.turns) > 0
	if !h.busy {
		return
	}
	s := h.turns[0]
	h.turns = h.turns[1:]
	packet, weight := s.take(h.fabric.packet)
	s.flying++
	s.sent = (s.sent + 1) % s.turn
	if s.waiting = len(s.pending) > 0; s.waiting && s.sent > 0 {
		h.turns = slices.Insert(h.turns, 0, s)
	} else if s.waiting {
		h.turns = append(h.turns, s)
	}
	h.upFree += time.Duration(weight / h.rate * float64(time.Second))
	h.fabric.at(h.upFree, func() {
		s.pass(packet, weight, h.upFree)
		h.send()
	})
}

// take returns what a packet can carry, and its weight.
func (s *stream) take(most float64) (packet []segment, weight float64) {
	for len(s.pending) > 0 && weight < most {
		g := &s.pending[0]
		n := min(len(g.bytes), max(1, int((most-weight)/g.weight)))
		packet = append(packet, segment{g.bytes[:n], g.weight})
		weight += float64(n) * g.weight
		if g.bytes = g.bytes[n:]; len(g.bytes) == 0 {
			s.pending = s.pending[1:]
		}
	}
	return packet, weight
}

// pass brings a packet that has left its sender by then to its receiver.
func (s *stream) pass(packet []segment, weight float64, left time.Duration) {
	h := s.to
	h.downFree = max(left, h.downFree+time.Duration(weight/h.rate*float64(time.Second)))
	h.fabric.at(h.downFree+h.fabric.latency, func() {
		s.flying--
		if !s.from.gone && !h.gone {
			s.arrived = append(s.arrived, packet...)
		}
		s.some.Signal()
	})
}

// reset ends a stream, and what is under way in it is lost.
func (s *stream) reset() {
	s.close()
	s.fault, s.pending, s.arrived = syscall.ECONNRESET, nil, nil
}

// close ends a stream, unless nobody can hear of that.
func (s *stream) close() {
	s.shut = true
	if s.alarm != nil {
		s.alarm.Stop()
	}
	s.room.Broadcast()
	s.some.Broadcast()
}

// end is one end of a connection.
type end struct {
	in, out       *stream
	local, remote *station
	closed        bool
	wrote         time.Time
}

// Read implements net.Conn.
func (c *end) Read(b []byte) (int, error) {
	c.local.awake()
	defer c.local.awake()
	return c.read(b)
}

func (c *end) read(b []byte) (int, error) {
	s, f := c.in, c.local.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(s.arrived) == 0 {
		lost := s.from.gone || s.to.gone
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case s.fault != nil && !lost:
			return 0, s.fault
		case s.shut && s.flying == 0 && len(s.pending) == 0 && !lost:
			return 0, io.EOF
		case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		s.arm()
		s.some.Wait()
	}
	all := 0
	for len(b) > 0 && len(s.arrived) > 0 {
		g := &s.arrived[0]
		n := copy(b, g.bytes)
		b, all = b[n:], all+n
		s.load -= float64(n) * g.weight
		if g.bytes = g.bytes[n:]; len(g.bytes) == 0 {
			s.arrived = s.arrived[1:]
		}
	}
	s.room.Signal()
	return all, nil
}

// arm sets the alarm that wakes the reader at its deadline. Deadlines are set much
// more often than they come, so an alarm that rings too early is set again then.
func (s *stream) arm() {
	if s.deadline.IsZero() || !s.rings.IsZero() && !s.deadline.Before(s.rings) {
		return
	}
	s.rings = s.deadline
	if s.alarm == nil {
		s.alarm = time.AfterFunc(time.Until(s.deadline), s.ring)
		return
	}
	s.alarm.Reset(time.Until(s.deadline))
}

func (s *stream) ring() {
	s.from.fabric.mu.Lock()
	defer s.from.fabric.mu.Unlock()
	s.rings = time.Time{}
	s.some.Signal() // the reader, if there is one, looks at the time
}

// Unanswered says what a kernel would of TCP (see package pulse).
func (c *end) Unanswered() time.Duration {
	f := c.local.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.wrote.IsZero() || !c.local.gone && !c.remote.gone {
		return 0
	}
	return time.Since(c.wrote)
}

// Write implements net.Conn. No reader here is slower than its link.
func (c *end) Write(b []byte) (int, error) {
	c.local.awake()
	c.local.fabric.mu.Lock()
	c.wrote = time.Now()
	c.local.fabric.mu.Unlock()
	if err := c.out.put(segment{append([]byte(nil), b...), 1}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// ReadFrom implements io.ReaderFrom, by which chunks are sent, and nothing else.
func (c *end) ReadFrom(r io.Reader) (int64, error) {
	c.local.awake()
	b := make([]byte, r.(*io.SectionReader).Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, err
	}
	return int64(len(b)), c.out.put(segment{b, c.local.fabric.weight})
}

// Close implements net.Conn.
func (c *end) Close() error {
	f := c.local.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	c.closed = true
	delete(c.local.conns, c)
	c.in.pending = nil // nobody will read it
	c.in.close()
	c.out.close()
	return nil
}

func (c *end) LocalAddr() net.Addr              { return c.local }
func (c *end) RemoteAddr() net.Addr             { return c.remote }
func (c *end) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *end) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *end) SetReadDeadline(t time.Time) error {
	s := c.in
	s.from.fabric.mu.Lock()
	defer s.from.fabric.mu.Unlock()
	s.deadline = t
	if !s.rings.IsZero() && !t.IsZero() && t.Before(s.rings) {
		s.some.Signal() // who waits already waits less
	}
	return nil
}
