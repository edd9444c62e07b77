package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/image/early"
	"ore/node"
)

func TestGain(t *testing.T) {
	for _, c := range []struct {
		summary string
		o       Outlook
		want    time.Duration
		known   bool
	}{
		{"a slow link", Outlook{Came: 10e6, In: time.Second, Left: 200e6, Cost: 100 * time.Millisecond}, 19900 * time.Millisecond, true},
		{"a fast link", Outlook{Came: 10e6, In: 10 * time.Millisecond, Left: 50e6, Cost: 100 * time.Millisecond}, -50 * time.Millisecond, true},
		{"nothing left", Outlook{Came: 10e6, In: time.Second, Cost: time.Millisecond}, -time.Millisecond, true},
		{"no rate", Outlook{Left: 10e6}, 0, false},
		{"the first bytes", Outlook{Came: 2e6, In: 20 * time.Millisecond, Left: 100e6, Lead: 1e6}, 0, false},
		{"nearly all that is read first", Outlook{Came: 2e6, In: 200 * time.Millisecond, Left: 100e6, Lead: 1e6, Cost: time.Second}, 9 * time.Second, true},
	} {
		got, known := c.o.Gain()
		if d := got - c.want; known != c.known || d.Abs() > time.Microsecond {
			t.Errorf("%s: %v, %v, want %v, %v", c.summary, got, known, c.want, c.known)
		}
	}
}

// Machines start when what they read first is under way, unless they would have to
// wait long for it, or all is there as soon.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		summary string
		stands  stands
		o       Outlook
		want    verdict
	}{
		{"it is under way", begins, Outlook{Came: 10e6, In: time.Second, Left: 100e6, Lead: 40e6, Cost: time.Second}, pays},
		{"it takes too long", begins, Outlook{Came: 1e6, In: time.Second, Left: 100e6, Lead: 40e6, Cost: time.Second}, stalls},
		{"it is there", begins, Outlook{Came: 1e6, In: time.Second, Left: 100e6, Cost: time.Second}, pays},
		{"the rest is there as soon", begins, Outlook{Came: 100e6, In: time.Second, Left: 50e6, Lead: 10e6, Cost: time.Second}, loses},
		{"too little came", begins, Outlook{Came: 1e6, In: time.Millisecond, Left: 100e6, Lead: 40e6}, unknown},
		{"a layer that nobody knows", waits, Outlook{Came: 10e6, In: time.Second, Left: 100e6}, open},
	} {
		if got := c.o.verdict(c.stands); got != c.want {
			t.Errorf("%s: %v, want %v", c.summary, got, c.want)
		}
	}
}

// slow is a listener whose connections send so many bytes a second together, until
// it is hurried.
type slow struct {
	net.Listener
	mu   sync.Mutex // guards what follows
	rate float64
	free time.Time // when the link has nothing to do
}

// set gives it another rate.
func (s *slow) set(rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rate = rate
}

// hurry has the rest go as quickly as it can.
func (s *slow) hurry() { s.set(1e12) }

type slowConn struct {
	net.Conn
	link *slow
}

func (s *slow) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	return slowConn{c, s}, err
}

func (c slowConn) Write(b []byte) (int, error) {
	all := 0
	for len(b) > 0 {
		n, err := c.Conn.Write(b[:min(len(b), 8<<10)])
		all, b = all+n, b[n:]
		if err != nil {
			return all, err
		}
		l := c.link
		l.mu.Lock()
		if now := time.Now(); l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
		wait := time.NewTimer(time.Until(l.free))
		l.mu.Unlock()
		<-wait.C
	}
	return all, nil
}

// layerOf is a layer whose bytes cannot be guessed.
func layerOf(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return string(b)
}

// linkRate has a megabyte come soon, and the rest of a layer long after a machine
// has started, however busy this computer is.
const linkRate = 1e6

// slowly has layers leave the engine slowly, and what is read first kept.
func slowly(e *Engine, f early.Folder) (*Engine, *slow) {
	e.config.First = f
	link := &slow{rate: 1e12}
	blob := e.config.Blob
	e.config.Blob = func(ctx context.Context, d ore.Digest) (string, error) { // a layer's turn, after the kit's
		link.set(linkRate)
		return blob(ctx, d)
	}
	e.source.listen = func() (l net.Listener, err error) {
		link.Listener, err = net.Listen("tcp", ":0")
		return link, err
	}
	return e, link
}

func needsNamespaces(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this test's machines look into another mount namespace: run it as root")
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("this host has no FUSE: %v", err)
	} else {
		f.Close()
	}
}

// recorded runs a job whose machine reads a megabyte in the middle of a layer, and
// returns where that was taken down.
func recorded(t *testing.T, layer string) early.Folder {
	t.Helper()
	f := early.Folder(t.TempDir())
	g := newGround(t, 1)
	e := g.engine()
	e.config.First = f
	w := g.reserveOn(e, ask{"watched", 1, layer})
	w.all()
	if _, err := w.shell(w.hosts[0], "m0", "dd if=$(cat layers) of=/dev/null bs=64k skip=32 count=16 status=none"); err != nil {
		t.Fatal(err)
	}
	w.release()
	r, ok := f.Load(image.Manifest{Layers: w.start.Image.Layers}.Digest())
	if !ok || len(r.Layers) != 1 || len(r.Layers[0].Ranges) == 0 || r.Layers[0].Took <= 0 {
		t.Fatalf("what was read first is recorded as %+v, %v", r, ok)
	}
	var bytes int64
	for _, g := range r.Layers[0].Ranges {
		bytes += g.Size
	}
	if at := r.Layers[0].Ranges[0].Offset; at > 32*64<<10 || at < 31*64<<10 || bytes < 1<<20 || bytes > 2<<20 {
		t.Fatalf("%d bytes were read first, from %d on", bytes, at)
	}
	return f
}

// has says whether a host has a layer.
func (w *work) has(h *host, d ore.Digest) bool {
	f, err := h.agent.Host(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.Contains(f.Blobs, d)
}

// told says whether an event was told that has this text.
func (g *ground) told(text string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.said, func(s string) bool { return strings.Contains(s, text) })
}

// Machines start while most of their layer is on its way, read what was recorded at
// once, and all the rest right, though slower. Without that they wait.
func TestEarlyStart(t *testing.T) {
	needsNamespaces(t)
	layer := layerOf(8 << 20)
	f := recorded(t, layer)
	g := newGround(t, 2)
	e, link := slowly(g.engine(), f)
	w := g.reserveOn(e, ask{"job", 2, layer})
	d := w.start.Image.Layers[0].Digest
	w.all()
	for _, h := range w.engine.hosts {
		if w.has(h, d) {
			t.Errorf("host %s had the whole layer before its machine started", h.name())
		}
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(layer[2<<20:3<<20])))
	for i, h := range w.hosts {
		got, err := w.shell(h, h.Machines[0].Name, "dd if=$(cat layers) bs=64k skip=32 count=16 status=none | sha256sum")
		if err != nil || !strings.HasPrefix(got, sum) {
			t.Errorf("machine %d read first %q, %v, want %s", i, got, err, sum)
		}
	}
	if w.has(w.engine.hosts[0], d) || w.has(w.engine.hosts[1], d) {
		t.Error("what is read first was read when all was there")
	}
	link.hurry()
	sum = fmt.Sprintf("%x", sha256.Sum256([]byte(layer)))
	for i, h := range w.hosts {
		got, err := w.shell(h, h.Machines[0].Name, "sha256sum <$(cat layers)")
		if err != nil || !strings.HasPrefix(got, sum) {
			t.Errorf("machine %d read %q, %v, want %s", i, got, err, sum)
		}
	}
	if !g.told("need not wait") || !g.told("and the rest comes") {
		t.Errorf("an early start was not told: %q", g.said)
	}
	<-w.engine.rest.done
	if !w.has(w.engine.hosts[0], d) || !w.has(w.engine.hosts[1], d) {
		t.Error("the hosts did not keep the layer")
	}
	w.release()
}

// Where it was ruled out, machines wait.
func TestNoEarlyStart(t *testing.T) {
	needsNamespaces(t)
	layer := layerOf(4 << 20)
	f := recorded(t, layer)
	g := newGround(t, 1)
	e := g.engine()
	e.config.First, e.config.Whole = f, true
	w := g.reserveOn(e, ask{"job", 1, layer})
	defer w.release()
	if !w.has(e.hosts[0], w.start.Image.Layers[0].Digest) {
		t.Error("the machines do not wait")
	}
}

// A host that dies while others run from what it passes on costs its own machines.
func TestRelayDiesEarly(t *testing.T) {
	needsNamespaces(t)
	layer := layerOf(8 << 20)
	f := recorded(t, layer)
	g := newGround(t, 3)
	e, link := slowly(g.engine(), f)
	w := g.reserveOn(e, ask{"job", 3, layer})
	defer w.release()
	w.all()
	if w.has(w.engine.hosts[2], w.start.Image.Layers[0].Digest) {
		t.Fatal("the layer is there already")
	}
	if err := g.agents[0].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	link.hurry()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(layer)))
	for _, h := range w.hosts {
		if w.engine.at(h.Machines[0].Name, nil) == w.engine.hosts[0] {
			continue
		}
		got, err := w.shell(h, h.Machines[0].Name, "sha256sum <$(cat layers)")
		if err != nil || !strings.HasPrefix(got, sum) {
			t.Errorf("%s read %q, %v, want %s", h.Machines[0].Name, got, err, sum)
		}
	}
}

// If the rest comes from nobody, machines end with an error that says so; they see
// no wrong bytes and no broken disk.
func TestSourceDiesEarly(t *testing.T) {
	needsNamespaces(t)
	layer := layerOf(8 << 20)
	f := recorded(t, layer)
	g := newGround(t, 1)
	e, _ := slowly(g.engine(), f)
	w := g.reserveOn(e, ask{"job", 1, layer})
	defer w.release()
	w.all()
	type answer struct {
		out string
		err error
	}
	over := make(chan answer, 1)
	go func() {
		out, err := w.shell(w.hosts[0], "m0", "sha256sum <$(cat layers)")
		over <- answer{out, err}
	}()
	if err := w.engine.source.close(); err != nil {
		t.Fatal(err)
	}
	a := <-over
	var lost *node.LostError
	if !errors.As(a.err, &lost) || !strings.Contains(a.err.Error(), "before all had come") || a.out != "" {
		t.Errorf("the machine ended with %q, %v", a.out, a.err)
	}
}
