package trunk

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"ore/vnet/ethernet"
	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

// Times of a link.
const (
	// probeEvery is how often a link is probed. With sixteen hosts each sends
	// eight small packets a second for it.
	probeEvery = 2 * time.Second
	// deadAfter is how long nothing may come before keys are agreed upon anew:
	// three probes, and a moment for the last.
	deadAfter = 3*probeEvery + time.Second
	// helloFirst and helloMost are how often a greeting without an answer is
	// repeated, twice as long each time.
	helloFirst = 250 * time.Millisecond
	helloMost  = 2 * time.Second
	// helloLife is how long a greeting is repeated before another is made. It is
	// longer than any round trip.
	helloLife = 5 * time.Second
	// udpPatience is how long UDP is given before TCP is tried as well.
	udpPatience = 1500 * time.Millisecond
	// udpAgain and udpMost are how often UDP is tried while TCP is in use, after
	// twice the time each time, and udpTries how many greetings that are.
	udpAgain = 2 * time.Second
	udpMost  = time.Minute
	udpTries = 3
	// dialTime bounds a TCP connection attempt.
	dialTime = 5 * time.Second
	// afterlife is how long datagrams under the keys before are taken.
	afterlife = 10 * time.Second
)

// maxReplies is how many echoes may wait to be sent; more are not sent.
const maxReplies = 64

// frameBatch is how many frames are taken from the queue at once.
const frameBatch = 64

// link is what joins two hosts: an Outlet of our switch, keys, and ways.
type link struct {
	secrets seal.Secrets
	first   bool                                              // it is we who greet
	dial    func(ctx context.Context) (*datagram.Path, error) // opens a TCP connection; nil where the other does
	input   func(f *ethernet.Frame)                           // into the switch
	queue   *ethernet.Queue
	udp     *datagram.Path // nil where there is none
	epoch   time.Time
	wake    chan struct{} // capacity 1: the state has changed
	replies chan outgoing
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc

	receiving sync.Mutex // one datagram at a time; taken before mu
	pieces    pieces

	current atomic.Pointer[session]
	heard   atomic.Int64 // when the newest authentic datagram came, since epoch
	counts

	mu       sync.Mutex // guards the rest
	closed   bool
	previous *session // its datagrams are still taken
	retired  time.Time
	pending  *session // answered, not yet used by the other
	answered answered
	greeting *seal.Greeting
	greeted  time.Time // when it was made
	greets   greets
	tcp      *datagram.Path
	dialing  bool
	health   health
	sizes    sizes
	train    train
	rate     float64 // as measure found
	measured time.Time

	measuring sync.Mutex // one measurement at a time
}

// session is keys and the path on which data goes.
type session struct {
	*seal.Session
	path atomic.Pointer[datagram.Path]
}

// answered is the newest hello that was answered.
type answered struct {
	clock   uint64
	hello   [seal.HelloSize]byte
	message []byte
}

// greets says when to greet.
type greets struct {
	next    time.Time
	wait    time.Duration
	since   time.Time // since when there is no link
	udpNext time.Time // when to try UDP while TCP is in use
	udpWait time.Duration
	udpLeft int
}

// outgoing is a datagram to be sent by the link's own goroutine.
type outgoing struct {
	path   *datagram.Path
	bytes  []byte   // sent as it is, if not nil
	record record   // else sealed,
	keys   *session // by these,
	size   int      // and padded to this size
}

// newLink returns a link that does nothing until it runs. Its owner sets udp,
// dial and input before.
func newLink(s seal.Secrets, first bool, pool *ethernet.Pool) *link {
	now := time.Now()
	l := &link{
		secrets: s, first: first, queue: ethernet.NewQueue(), epoch: now,
		wake: make(chan struct{}, 1), replies: make(chan outgoing, maxReplies),
		pieces: pieces{pool: pool}, greets: greets{since: now}, health: health{since: now},
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run sends what is queued, and what its clock has it send, until the link is
// closed. The link owns both goroutines.
func (l *link) run() {
	l.running.Go(l.write)
	if l.udp != nil {
		l.running.Go(func() { l.read(l.udp) })
	}
	l.running.Go(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-l.ctx.Done():
				return
			case <-timer.C:
			case <-l.wake:
			case o := <-l.replies:
				l.transmit(o)
				continue
			}
			due := l.tick(time.Now())
			timer.Reset(time.Until(due))
		}
	})
}

// read takes what comes on a path until it ends.
func (l *link) read(w *datagram.Path) {
	w.Read(func(b []byte, now time.Time) { l.receive(b, w, now) })
	w.Close()
	l.kick()
}

// close ends the link and waits for all that it has running.
func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	tcp := l.tcp
	l.mu.Unlock()
	l.cancel()
	l.queue.Close()
	if l.udp != nil {
		l.udp.Close()
	}
	if tcp != nil {
		tcp.Close()
	}
	l.running.Wait()
	l.current.Store(nil)
	l.pieces.close()
}

// kick has tick called.
func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Deliver takes a frame for a machine of the other host.
func (l *link) Deliver(f *ethernet.Frame) bool {
	if l.current.Load() == nil {
		l.count(down, 1)
		f.Release()
		return false
	}
	if !l.queue.Push(f) {
		l.count(full, 1)
		f.Release()
		return false
	}
	return true
}

// write sends the frames that are queued.
func (l *link) write() {
	var frames [frameBatch]*ethernet.Frame
	var p packer
	for {
		n := l.queue.Take(frames[:])
		if n == 0 {
			return
		}
		s := l.current.Load()
		if s == nil {
			l.count(down, n)
		} else {
			p.begin(s, s.path.Load())
			for _, f := range frames[:n] {
				p.add(f)
			}
			p.end()
			l.sent(n, &p)
		}
		for i, f := range frames[:n] {
			f.Release()
			frames[i] = nil
		}
	}
}

// transmit sends one datagram of the link's own.
func (l *link) transmit(o outgoing) {
	b := o.bytes
	if b == nil {
		b = o.seal()
	}
	if len(b) == 0 || o.path.Send(b, len(b)) != nil {
		l.count(unsent, 1)
	}
}

// seal makes the datagram of a record.
func (o outgoing) seal() []byte {
	var small [16]byte
	r := o.record.append(small[:0])
	b := make([]byte, max(o.size, seal.Overhead+len(r))) // padding is zeros
	copy(b[seal.HeadSize:], r)
	return b[:o.keys.Seal(b, len(b)-seal.Overhead)]
}

// receive takes a datagram that came on a path. The memory is the caller's.
func (l *link) receive(b []byte, via *datagram.Path, now time.Time) {
	if len(b) < seal.HeadSize || b[1] != seal.Version {
		l.count(malformed, 1)
		return
	}
	switch b[0] {
	case seal.KindData:
		l.open(b, via, now)
	case seal.KindHello:
		l.answer(b, via, now)
	case seal.KindAnswer:
		l.complete(b, via, now)
	default:
		l.count(malformed, 1)
	}
}

// open takes a datagram with data.
func (l *link) open(b []byte, via *datagram.Path, now time.Time) {
	l.receiving.Lock()
	defer l.receiving.Unlock()
	s := l.find(seal.Index(b), now)
	if s == nil {
		l.count(stale, 1)
		return
	}
	plain, err := s.Open(b)
	if err != nil {
		l.count(reasonOf(err), 1)
		return
	}
	if s != l.current.Load() {
		l.confirm(s, via, now)
	}
	l.heard.Store(int64(now.Sub(l.epoch)))
	a := arrival{link: l, session: s, via: via, size: len(b), now: now}
	for len(plain) > 0 {
		r, rest, err := parse(plain)
		if err == nil {
			err = a.take(r)
		}
		if err != nil {
			l.count(malformed, 1)
			break
		}
		plain = rest
	}
	l.received(&a)
}

// find returns the session that we call by an index.
func (l *link) find(index uint32, now time.Time) *session {
	if s := l.current.Load(); s != nil && s.Index() == index {
		return s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.pending != nil && l.pending.Index() == index:
		return l.pending
	case l.previous != nil && l.previous.Index() == index && now.Sub(l.retired) < afterlife:
		return l.previous
	}
	return nil
}

// confirm has a session be used that the other side has used for the first time.
func (l *link) confirm(s *session, via *datagram.Path, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s == l.pending {
		l.pending = nil
		l.promote(s, via, now)
	}
}

// promote has a session be the one that is used. It is called with mu held.
func (l *link) promote(s *session, via *datagram.Path, now time.Time) {
	if old := l.current.Load(); old != nil {
		l.previous, l.retired = old, now
	} else {
		l.health.since = now
	}
	s.path.Store(via)
	l.heard.Store(int64(now.Sub(l.epoch)))
	l.current.Store(s)
	l.sessions.Add(1)
	if via == l.udp || l.greets.udpWait == 0 {
		l.greets.udpWait = udpAgain
	}
	l.greets = greets{udpNext: now.Add(l.greets.udpWait), udpWait: l.greets.udpWait}
	l.health.begin(now)
	if via == l.udp {
		if l.sizes.again.IsZero() {
			l.sizes.begin(via.Ceiling(), now)
			via.SetSize(l.sizes.now)
		}
		if l.tcp != nil {
			l.tcp.Close()
			l.tcp = nil
		}
	}
	l.kick()
}

// fall gives the session up. It is called with mu held.
func (l *link) fall(now time.Time) {
	l.previous, l.retired = l.current.Load(), now
	l.current.Store(nil)
	l.health.since = now
	l.greets = greets{since: now}
	l.greeting = nil
	l.sizes = sizes{now: floorSize} // it may be that nothing larger passes any more
}

// newIndex returns a name for a session that no other of the link's has.
func (l *link) newIndex() uint32 {
	for {
		n := rand.Uint32()
		taken := func(s *session) bool { return s != nil && s.Index() == n }
		if n != 0 && !taken(l.current.Load()) && !taken(l.previous) && !taken(l.pending) {
			return n
		}
	}
}

// clock is what a hello says of its time: it grows also where the host's clock
// is set back.
func (l *link) clock() uint64 { return uint64(l.epoch.UnixNano() + int64(time.Since(l.epoch))) }

// answer answers a hello.
func (l *link) answer(b []byte, via *datagram.Path, now time.Time) {
	h, ok := seal.ParseHello(b)
	if !ok || l.first || h.Name != l.secrets.Name() || !l.secrets.Authentic(b) {
		l.count(corrupt, 1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch a := &l.answered; {
	case a.message != nil && string(b) == string(a.hello[:]):
		// Its answer was lost, or it comes by another path.
	case h.Clock <= a.clock:
		l.count(replayed, 1)
		return
	default:
		m, s, err := l.secrets.Answer(b, l.newIndex())
		if err != nil {
			l.count(malformed, 1)
			return
		}
		a.clock, a.message = h.Clock, m
		copy(a.hello[:], b)
		l.pending = &session{Session: s}
	}
	l.reply(outgoing{path: via, bytes: l.answered.message})
}

// reply has the link's goroutine send something: who receives must not wait.
func (l *link) reply(o outgoing) {
	select {
	case l.replies <- o:
	default:
	}
}

// complete takes the answer to our hello.
func (l *link) complete(b []byte, via *datagram.Path, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.greeting == nil {
		l.count(stale, 1)
		return
	}
	s := l.secrets.Complete(l.greeting, b)
	if s == nil {
		l.count(corrupt, 1)
		return
	}
	l.greeting = nil
	l.promote(&session{Session: s}, via, now)
}
