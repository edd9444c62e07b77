package ethernet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; reaching it is a failure.
const patience = 2 * time.Minute

const testMTU = 1500

// peer is the machine's end of a port.
type peer struct {
	Identity
	t    testing.TB
	port *Port
	f    *os.File
}

// plug adds a port with a socket of the given kind.
func plug(t testing.TB, s *Switch, id Identity, kind int) *peer {
	t.Helper()
	ours, theirs, err := Pair(kind)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.PlugSocket(id, ours)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	fd, err := unix.Dup(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "peer")
	t.Cleanup(func() { f.Close() })
	f.SetDeadline(time.Now().Add(patience))
	return &peer{Identity: id, t: t, port: p, f: f}
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.f.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() []byte {
	p.t.Helper()
	b := make([]byte, 1<<16)
	n, err := p.f.Read(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return b[:n]
}

// nothing fails the test if a frame is waiting.
func (p *peer) nothing() {
	p.t.Helper()
	raw, err := p.f.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		b := make([]byte, 1<<16)
		if n, _, err := unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
			p.t.Errorf("got %d bytes: %x, %v", n, b[:max(n, 0)], err)
		}
	})
}

func (p *peer) dropped(v Verdict) uint64 { return p.port.Stats().Dropped[v.String()] }

func newTestSwitch(t testing.TB) *Switch {
	s := NewSwitch(testMTU)
	t.Cleanup(s.Close)
	return s
}

// kinds are the sockets that hypervisors use.
var kinds = map[string]int{"seqpacket": unix.SOCK_SEQPACKET, "dgram": unix.SOCK_DGRAM}

// each runs a test with both kinds of socket.
func each(t *testing.T, f func(t *testing.T, kind int)) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) { f(t, kind) })
	}
}

func TestForward(t *testing.T) {
	each(t, func(t *testing.T, kind int) {
		s := newTestSwitch(t)
		a, b, c := plug(t, s, alice, kind), plug(t, s, bob, kind), plug(t, s, carol, kind)
		for n := range 3 * maxBatch { // sizes on both sides of every buffer size
			want := frameOf(alice, bob, n*15)
			a.send(want)
			if got := b.receive(); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes came as %d", len(want), len(got))
			}
		}
		b.send(arpOf(2, bob, alice))
		if got := a.receive(); !bytes.Equal(got, arpOf(2, bob, alice)) {
			t.Errorf("ARP reply came as %x", got)
		}
		c.nothing()
	})
}

func TestFlood(t *testing.T) {
	s := newTestSwitch(t)
	a, b, c := plug(t, s, alice, unix.SOCK_SEQPACKET), plug(t, s, bob, unix.SOCK_SEQPACKET), plug(t, s, carol, unix.SOCK_SEQPACKET)
	want := frameOf(alice, Identity{MAC: all, IP: IPv4{255, 255, 255, 255}}, 50)
	a.send(want)
	for _, p := range []*peer{b, c} {
		if got := p.receive(); !bytes.Equal(got, want) {
			t.Errorf("broadcast came as %x", got)
		}
	}
	a.nothing()
	// A question goes to whom it is about; one about nobody goes nowhere.
	a.send(arpOf(1, alice, carol))
	a.send(arpOf(1, alice, Identity{IP: IPv4{10, 0, 0, 99}}))
	if got := c.receive(); !bytes.Equal(got, arpOf(1, alice, carol)) {
		t.Errorf("ARP request came as %x", got)
	}
	a.send(frameOf(alice, bob, 1)) // comes after whatever the questions brought
	if got := b.receive(); len(got) != ipMinimum+1 {
		t.Errorf("bob got %x", got)
	}
	c.nothing()
	if got := a.dropped(Unknown); got != 1 {
		t.Errorf("%d dropped as unknown", got)
	}
}

func TestStormIsLimited(t *testing.T) {
	s := newTestSwitch(t)
	a, b := plug(t, s, alice, unix.SOCK_SEQPACKET), plug(t, s, bob, unix.SOCK_SEQPACKET)
	begin := time.Now()
	const sent = 10 * floodBurst
	ended := make(chan error, 1)
	go func() { // while they are received: a queue may not hold all that pass on a slow machine
		var err error
		for n := 0; n < sent && err == nil; n++ {
			_, err = a.f.Write(frameOf(alice, Identity{MAC: all}, 0))
		}
		_, last := a.f.Write(frameOf(alice, bob, 1))
		ended <- errors.Join(err, last)
	}()
	got := 0
	for len(b.receive()) == ipMinimum {
		got++
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	// A slow machine refills the bucket meanwhile.
	if most := floodBurst + int(time.Since(begin).Seconds()*floodRate) + 1; got > most {
		t.Errorf("%d of %d frames went through, want at most %d", got, sent, most)
	}
	if lost := a.dropped(Storm); int(lost)+got != sent {
		t.Errorf("%d came, %d counted as dropped", got, lost)
	}
}

// TestBadFrames proves for each kind of bad frame that it is dropped, counted
// at its sender, and that sender and others go on.
func TestBadFrames(t *testing.T) {
	each(t, func(t *testing.T, kind int) {
		s := newTestSwitch(t)
		a, b := plug(t, s, alice, kind), plug(t, s, bob, kind)
		good := frameOf(alice, bob, 10)
		for _, c := range []struct {
			b    []byte
			want Verdict
		}{
			{[]byte{}, Runt}, {good[:1], Runt}, {good[:11], Runt}, {good[:13], Runt},
			{frameOf(alice, bob, testMTU), Giant}, {make([]byte, 60000), Giant},
			{frameOf(carol, bob, 10), Spoofed}, {changed(good, ipSrc, 9), Spoofed},
			{good[:HeaderSize], Malformed}, {changed(good, ethType, 0x86), Foreign},
			{frameOf(alice, carol, 10), Unknown}, {frameOf(alice, alice, 10), Unknown},
		} {
			before := a.dropped(c.want)
			for range 100 {
				a.send(c.b)
			}
			a.send(good)
			if got := b.receive(); !bytes.Equal(got, good) {
				t.Fatalf("after %v: %x", c.want, got)
			}
			if got := a.dropped(c.want) - before; got != 100 {
				t.Errorf("%x: %d counted as %v", c.b[:min(40, len(c.b))], got, c.want)
			}
		}
	})
}

// TestFrozenPeer proves that a peer that does not read delays nobody, and that
// it gets no more than its queue when it comes back.
func TestFrozenPeer(t *testing.T) {
	each(t, func(t *testing.T, kind int) {
		s := newTestSwitch(t)
		a, b, frozen := plug(t, s, alice, kind), plug(t, s, bob, kind), plug(t, s, carol, kind)
		const sent = 4 * queueFrames
		for i := range sent {
			a.send(frameOf(alice, carol, testMTU-20))
			if i%64 == 0 { // the sender's other conversations go on in between
				a.send(frameOf(alice, bob, 1))
				b.receive()
			}
		}
		a.send(frameOf(alice, bob, 2))
		b.receive()
		lost := frozen.dropped(Full)
		if lost < sent-2*queueFrames {
			t.Errorf("%d of %d frames were dropped", lost, sent)
		}
		for range sent - int(lost) {
			frozen.receive()
		}
		a.send(frameOf(alice, carol, 3))
		if got := frozen.receive(); len(got) != ipMinimum+3 {
			t.Errorf("after thawing: %d bytes", len(got))
		}
	})
}

// TestPeerCloses proves that others go on, that the port can be unplugged, and
// that the address is free then.
func TestPeerCloses(t *testing.T) {
	each(t, func(t *testing.T, kind int) {
		s := newTestSwitch(t)
		a, b := plug(t, s, alice, kind), plug(t, s, bob, kind)
		gone := plug(t, s, carol, kind)
		gone.send(frameOf(carol, bob, 1))
		b.receive()
		gone.f.Close()
		for range 3 * queueFrames {
			a.send(frameOf(alice, carol, 100))
		}
		a.send(frameOf(alice, bob, 1))
		b.receive()
		if _, err := s.Plug(carol, gone.port.outlet); !errors.Is(err, ErrTaken) {
			t.Errorf("plug before unplug: %v", err)
		}
		gone.port.Unplug()
		gone.port.Unplug()
		again := plug(t, s, carol, kind)
		a.send(frameOf(alice, carol, 5))
		if got := again.receive(); len(got) != ipMinimum+5 {
			t.Errorf("%d bytes", len(got))
		}
	})
}

func TestPlugAfterClose(t *testing.T) {
	s := NewSwitch(testMTU)
	p := plug(t, s, alice, unix.SOCK_SEQPACKET)
	s.Close()
	if n, err := p.f.Read(make([]byte, 10)); n != 0 || err == nil {
		t.Errorf("the socket is open after Close: %d, %v", n, err)
	}
	if _, err := s.Plug(bob, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestReleasedTwicePanics(t *testing.T) {
	f := newPool(1518).Get(100)
	f.Release()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	f.Release()
}

// sink counts what it is given.
type sink struct{ frames int }

func (s *sink) Deliver(f *Frame) bool { s.frames++; f.Release(); return true }

// TestForwardingAllocatesNothing counts in the part between the system calls.
func TestForwardingAllocatesNothing(t *testing.T) {
	s := NewSwitch(9000)
	out := &sink{}
	in, err := s.Plug(alice, &sink{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Plug(bob, out); err != nil {
		t.Fatal(err)
	}
	b := frameOf(alice, bob, 8000)
	send := func() {
		f := s.pool.Get(len(b))
		copy(f.Bytes(), b)
		in.Input(f)
	}
	send()
	// A garbage collection in between may empty the pool once.
	if n := testing.AllocsPerRun(10000, send); n >= 1 {
		t.Errorf("%v allocations for each frame", n)
	}
	if out.frames < 10000 {
		t.Errorf("%d frames arrived", out.frames)
	}
}

func TestQueueBounds(t *testing.T) {
	pool := newPool(9018)
	for _, c := range []struct{ size, want int }{{60, queueFrames}, {2000, min(queueFrames, queueBytes/mediumBuffer)}, {9000, queueBytes / 9018}} {
		q := NewQueue()
		n := 0
		for f := pool.Get(c.size); q.Push(f); f = pool.Get(c.size) {
			n++
		}
		if n != c.want {
			t.Errorf("%d frames of %d bytes fit, want %d", n, c.size, c.want)
		}
		got := make([]*Frame, maxBatch)
		for n > 0 {
			k := q.Take(got)
			for _, f := range got[:k] {
				f.Release()
			}
			n -= k
		}
		q.Close()
		if q.bytes != 0 || q.Push(pool.Get(60)) || q.Take(got) != 0 {
			t.Errorf("after taking all: %d bytes; closed queues take and give nothing", q.bytes)
		}
	}
}

// BenchmarkForward sends frames from one socket to another, for each MTU as
// fast as the receiver takes them.
func BenchmarkForward(b *testing.B) {
	for _, mtu := range []int{1500, 9000, 16000, 65000} {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			s := NewSwitch(mtu)
			defer s.Close()
			from, to := plug(b, s, alice, unix.SOCK_SEQPACKET), plug(b, s, bob, unix.SOCK_SEQPACKET)
			from.f.SetDeadline(time.Time{})
			to.f.SetDeadline(time.Time{})
			frame := frameOf(alice, bob, mtu-20)
			window := min(64, queueBytes/mtu/2) // frames under way, so that none is dropped
			credit := make(chan struct{}, window)
			b.SetBytes(int64(mtu))
			b.ReportAllocs()
			b.ResetTimer()
			go func() {
				for range b.N {
					credit <- struct{}{}
					from.f.Write(frame)
				}
			}()
			buf := make([]byte, 1<<16)
			for range b.N {
				if _, err := to.f.Read(buf); err != nil {
					b.Fatal(err)
				}
				<-credit
			}
		})
	}
}
