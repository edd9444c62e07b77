package trunk

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"ore/vnet/ethernet"
	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

// weather is what an air does to datagrams. Shares are from 0 to 1.
type weather struct {
	loss, double, flip float64
	delay, jitter      time.Duration
	blocked            bool
	most               int // larger datagrams are lost; 0 is no limit
}

// air is a way between two links, in memory, for tests in virtual time.
type air struct {
	t      *testing.T
	mu     sync.Mutex // guards the rest
	random *rand.Rand
	now    weather
	takers [2]func(b []byte, now time.Time)
	closed [2]chan struct{}
	seen   [2][][]byte // what was sent by each side, if keep is set
	keep   bool
}

func newAir(t *testing.T, w weather) *air {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return &air{t: t, random: rand.New(rand.NewPCG(seed, 0)), now: w, closed: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
}

func (a *air) set(f func(w *weather)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&a.now)
}

// record has what is sent be kept from now on, or not any more.
func (a *air) record(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keep = on
}

// path returns the end of one side.
func (a *air) path(side, ceiling int) *datagram.Path {
	p := datagram.NewPath(datagram.UDP, datagram.Headers4, func() error { close(a.closed[side]); return nil })
	p.SetSize(datagram.BaseSize)
	p.Ceiling = func() int { return ceiling }
	p.Send = func(b []byte, size int) error {
		for len(b) > 0 {
			n := min(size, len(b))
			a.send(side, append([]byte(nil), b[:n]...))
			b = b[n:]
		}
		return nil
	}
	p.Read = func(take func([]byte, time.Time)) {
		a.mu.Lock()
		a.takers[side] = take
		a.mu.Unlock()
		<-a.closed[side]
		a.mu.Lock()
		a.takers[side] = nil
		a.mu.Unlock()
	}
	return p
}

func (a *air) send(side int, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, r := a.now, a.random
	if a.keep {
		a.seen[side] = append(a.seen[side], append([]byte(nil), b...))
	}
	if w.blocked || w.most > 0 && len(b) > w.most || r.Float64() < w.loss {
		return
	}
	copies := 1
	if r.Float64() < w.double {
		copies = 2
	}
	for range copies {
		c := append([]byte(nil), b...)
		if r.Float64() < w.flip {
			c[r.IntN(len(c))] ^= 1 << r.IntN(8)
		}
		delay := w.delay
		if w.jitter > 0 {
			delay += time.Duration(r.Int64N(int64(w.jitter)))
		}
		time.AfterFunc(delay, func() { a.deliver(1-side, c) })
	}
}

// deliver gives a datagram to one side, whoever sent it.
func (a *air) deliver(side int, b []byte) {
	a.mu.Lock()
	take := a.takers[side]
	a.mu.Unlock()
	if take != nil {
		take(b, time.Now())
	}
}

// end is one of two links that are tested.
type end struct {
	*link
	pool *ethernet.Pool
	mu   sync.Mutex // guards got
	got  [][]byte
}

// ends returns two links with an air between them, and TCP unless it is blocked.
func ends(t *testing.T, a *air, ceiling int, tcp func() bool) (x, y *end) {
	key := PairKey(Key{1}, "a", "b")
	make := func(side int) *end {
		e := &end{pool: ethernet.NewSwitch(15872).Pool()}
		e.link = newLink(seal.NewSecrets(key), side == 0, e.pool)
		e.input = func(f *ethernet.Frame) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.got = append(e.got, append([]byte(nil), f.Bytes()...))
			f.Release()
		}
		e.udp = a.path(side, ceiling)
		return e
	}
	x, y = make(0), make(1)
	x.dial = func(context.Context) (*datagram.Path, error) {
		if tcp == nil || !tcp() {
			return nil, errors.New("refused")
		}
		ours, theirs := net.Pipe()
		y.link.mu.Lock()
		y.adopt(datagram.NewStream(theirs))
		y.link.mu.Unlock()
		return datagram.NewStream(ours), nil
	}
	x.run()
	y.run()
	t.Cleanup(func() { x.close(); y.close() })
	return x, y
}

// send has a link carry a frame of n bytes that says which it is.
func (e *end) send(number uint32, n int) bool {
	f := e.pool.Get(n)
	b := f.Bytes()
	for i := range b {
		b[i] = byte(i) + byte(number)
	}
	binary.BigEndian.PutUint32(b[4:], number)
	binary.BigEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return e.Deliver(f)
}

// frames returns the numbers of the frames that came, each of which must be
// whole and have come once.
func (e *end) frames(t *testing.T) map[uint32]bool {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	all := map[uint32]bool{}
	for _, b := range e.got {
		n := binary.BigEndian.Uint32(b[4:])
		if crc32.ChecksumIEEE(b[4:]) != binary.BigEndian.Uint32(b) {
			t.Errorf("frame %d of %d bytes is damaged", n, len(b))
		}
		if all[n] {
			t.Errorf("frame %d came twice", n)
		}
		all[n] = true
	}
	return all
}

func (e *end) isUp() bool { return e.stats().Up }
