package chain_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"ore/chain"
)

// gate is a listener that holds one of its connections up after some bytes,
// until it is opened. The others go on.
type gate struct {
	net.Listener
	held  int // which connection, from 0
	after int
	open  chan struct{}

	mu sync.Mutex // guards n
	n  int
}

func (g *gate) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
	if err != nil || g.n-1 != g.held {
		return c, err
	}
	return &gated{Conn: c, gate: g, left: g.after, closed: make(chan struct{})}, nil
}

type gated struct {
	net.Conn
	gate   *gate
	left   int
	once   sync.Once
	closed chan struct{}
}

func (g *gated) Write(b []byte) (int, error) {
	if g.left -= len(b); g.left < 0 {
		select {
		case <-g.gate.open:
		case <-g.closed:
			return 0, net.ErrClosed
		}
	}
	return g.Conn.Write(b)
}

func (g *gated) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Conn.Close()
}

// held makes a peer whose connection number n goes on after some bytes only once
// the gate is open.
func held(t *testing.T, n, after int) (place, *gate) {
	t.Helper()
	g := &gate{held: n, after: after, open: make(chan struct{})}
	p := start(t, func(c *chain.Config) {
		g.Listener = c.Listener
		c.Listener, c.Silence = g, patience
	})
	return p, g
}

// What is to come first does, over a relay too, and is told before the rest is
// there.
func TestFirstChunksComeFirst(t *testing.T) {
	want := content(4<<20, 3)
	b, l, name := cut(t, want)
	end := b.Cover(b.Size-200_000, 200_000)
	b.First = []chain.Span{end, b.Cover(1<<20, 1)}
	source, gate := held(t, 1, 400_000)
	patient := func(c *chain.Config) { c.Silence = patience }
	relay, tail := start(t, patient), start(t, patient)
	if err := source.Add(chain.NewBlob(b.Digest, l), l, name); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	source.wire(t, b, g)
	last, middle := tail.wire(t, b, g), relay.wire(t, b, g)
	middle.order(takeAll(b, source))
	last.order(takeAll(b, relay))
	r := last.until(func(r chain.Report) bool { return r.Ahead })
	if r.Whole || r.Chunks < end.Count+1 {
		t.Errorf("ahead with %d chunks, whole: %v", r.Chunks, r.Whole)
	}
	close(gate.open)
	last.until(whole)
	same(t, tail, b, want)
	seq := b.Sequence()
	if seq[0] != end.From || len(seq) != b.Chunks {
		t.Errorf("the sequence begins with %v and has %d of %d chunks", seq[:3], len(seq), b.Chunks)
	}
}

func TestCover(t *testing.T) {
	b, l, _ := cut(t, content(1_000_000, 4))
	for _, r := range [][2]int64{{0, 1}, {0, 1_000_000}, {999_999, 1}, {40_000, 100_000}, {65_536, 65_536}, {900_000, 500_000}, {2_000_000, 1}} {
		var want []int
		for i, c := range l.Chunks {
			if c.Offset < r[0]+r[1] && c.Offset+c.Size > r[0] {
				want = append(want, i)
			}
		}
		s := b.Cover(r[0], r[1])
		var got []int
		for i := s.From; i < s.From+s.Count; i++ {
			got = append(got, i)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d bytes at %d are in chunks %v, want %v", r[1], r[0], got, want)
		}
	}
}

// Who reads what has not come has it before its turn, from a source two hosts
// away.
func TestReaderHurries(t *testing.T) {
	want := content(8<<20, 5)
	b, l, name := cut(t, want)
	source, gate := held(t, 1, 1<<20)
	patient := func(c *chain.Config) { c.Silence = patience }
	relay, tail := start(t, patient), start(t, patient)
	if err := source.Add(b, l, name); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	source.wire(t, b, g)
	last, middle := tail.wire(t, b, g), relay.wire(t, b, g)
	middle.order(takeAll(b, source))
	last.order(takeAll(b, relay))
	last.until(func(r chain.Report) bool { return r.Chunks > 0 }) // a source is known
	r := tail.Reader(b.Digest)
	defer r.Close()
	got := make([]byte, 5000)
	at := int64(7 << 20)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := r.ReadAt(ctx, got, at); err != nil || !bytes.Equal(got, want[at:at+5000]) {
		t.Fatalf("read before its turn: %v, right: %v", err, bytes.Equal(got, want[at:at+5000]))
	}
	if _, whole := tail.Path(b.Digest); whole {
		t.Error("the whole blob came, which the source held back")
	}
	close(gate.open)
	last.until(whole)
	same(t, tail, b, want)
	last.order(chain.Order{Kind: chain.Release, Blob: b})
	last.closed()
	n, err := r.ReadAt(ctx, got, b.Size-100)
	if err != nil || !bytes.Equal(got[:n], want[len(want)-100:]) {
		t.Errorf("after the transfer: %d bytes, %v", n, err)
	}
}

// What goes first anyway is not asked for once more: who reads it waits for its turn.
func TestReaderWaitsForWhatGoesFirst(t *testing.T) {
	want := content(8<<20, 8)
	b, l, name := cut(t, want)
	b.First = []chain.Span{b.Cover(0, 4<<20)}
	source, gate := held(t, 1, 1<<20)
	p := start(t, func(c *chain.Config) { c.Silence = patience })
	if err := source.Add(chain.NewBlob(b.Digest, l), l, name); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	source.wire(t, b, g)
	w := p.wire(t, b, g)
	w.order(takeAll(b, source))
	w.until(func(r chain.Report) bool { return r.Chunks > 0 })
	r := p.Reader(b.Digest)
	defer r.Close()
	soon, cancel := context.WithTimeout(t.Context(), hurried)
	defer cancel()
	if _, err := r.ReadAt(soon, make([]byte, 100), 3<<20); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what the source holds back was read: %v", err)
	}
	if _, err := r.ReadAt(t.Context(), make([]byte, 100), 7<<20); err != nil {
		t.Errorf("what goes later was not hurried: %v", err)
	}
	close(gate.open)
	w.until(whole)
	same(t, p, b, want)
	gate.mu.Lock()
	defer gate.mu.Unlock()
	if gate.n != 3 { // the conductor's, the stream's, and the one hurry's
		t.Errorf("the source had %d connections, want 3", gate.n)
	}
}

// hurried is how long a request out of order takes on this host at most, mostly.
const hurried = 200 * time.Millisecond

// A reader waits when nothing comes, ends with its context, and knows no blob
// that is not under way.
func TestReaderWaits(t *testing.T) {
	want := content(1<<20, 6)
	b, _, _ := cut(t, want)
	p := start(t, nil)
	r := p.Reader(b.Digest)
	defer r.Close()
	if _, err := r.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, chain.ErrAbsent) {
		t.Errorf("a blob nobody knows: %v", err)
	}
	w := p.wire(t, b, grantFor(b))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ReadAt(ctx, make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("a read that was given up: %v", err)
	}
	w.order(chain.Order{Kind: chain.Release, Blob: b})
	w.closed()
	if _, err := r.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, chain.ErrAbsent) {
		t.Errorf("a blob that was released: %v", err)
	}
}

// No reader sees bytes that a source made up.
func TestReaderSeesNoWrongBytes(t *testing.T) {
	want := content(1<<20, 7)
	b, l, name := cut(t, want)
	bad := bytes.Clone(want)
	bad[0] ^= 1
	badName := t.TempDir() + "/bad"
	if err := os.WriteFile(badName, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	source, liar, p := start(t, nil), start(t, nil), start(t, nil)
	if err := errors.Join(source.Add(b, l, name), liar.Add(b, l, badName)); err != nil {
		t.Fatal(err)
	}
	g := grantFor(b)
	w := p.wire(t, b, g)
	source.wire(t, b, g)
	liar.wire(t, b, g)
	w.order(takeAll(b, liar))
	r := p.Reader(b.Digest)
	defer r.Close()
	got, read := make([]byte, 100), make(chan error, 1)
	go func() {
		_, err := r.ReadAt(t.Context(), got, 0)
		read <- err
	}()
	w.until(func(r chain.Report) bool { return len(r.Flows) == 1 && r.Flows[0].Wrong })
	select {
	case err := <-read:
		t.Errorf("a read of wrong bytes ended with %v", err)
	default:
	}
	w.order(takeAll(b, source))
	if err := <-read; err != nil || !bytes.Equal(got, want[:100]) {
		t.Errorf("read from an honest source: %v", err)
	}
}

// closed waits until the peer has hung up.
func (w wire) closed() {
	w.t.Helper()
	for range 10_000 {
		if _, err := w.s.Next(); err != nil {
			return
		}
	}
	w.t.Fatal("the peer goes on reporting")
}
