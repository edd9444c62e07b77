package conduct_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// network is one of hosts in memory, each behind a link that all its streams
// share: what they send waits in one queue, first come, first served. As TCP's
// streams do they have windows of different size, so that they share a full
// queue unevenly. Its time is that of a testing/synctest bubble.
type network struct {
	random *rand.Rand
	wait   sync.WaitGroup

	mu    sync.Mutex // guards hosts and random
	hosts map[string]*netHost
}

type netHost struct {
	listener
	network  *network
	up, down *wire
}

// Limits of streams: the shares of one link differ by up to 32.
const (
	leastWindow = 64 << 10
	packetSize  = 8 << 10
)

func newNetwork(seed uint64) *network {
	return &network{random: rand.New(rand.NewPCG(seed, 1)), hosts: map[string]*netHost{}}
}

// add makes a host whose link has a rate, bytes a second.
func (n *network) add(name string, rate float64) *netHost {
	h := &netHost{listener: newListener(name), network: n, up: newWire(rate), down: newWire(rate)}
	for _, w := range []*wire{h.up, h.down} {
		n.wait.Go(w.run)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[name] = h
	return h
}

// end ends all links.
func (n *network) end() {
	for _, h := range n.hosts {
		h.up.close()
		h.down.close()
	}
	n.wait.Wait()
}

// dial connects to the host that is called address.
func (h *netHost) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n := h.network
	n.mu.Lock()
	to := n.hosts[address]
	window := func() int { return leastWindow << n.random.IntN(6) }
	out, in := newHalf(window()), newHalf(window())
	n.mu.Unlock()
	if to == nil {
		return nil, fmt.Errorf("dial %s: no such host", address)
	}
	out.path, in.path = []*wire{h.up, to.down}, []*wire{to.up, h.down}
	if to == h { // what a host says to itself goes over no link
		out.path, in.path = nil, nil
	}
	if err := to.reach(ctx, &netConn{in: out, out: in, local: to, remote: h}); err != nil {
		return nil, err
	}
	return &netConn{in: in, out: out, local: h, remote: to}, nil
}

// wire carries one packet after another.
type wire struct {
	rate   float64
	mu     sync.Mutex // guards queue, closed
	some   *sync.Cond
	queue  []packet
	closed bool
}

type packet struct {
	bytes []byte
	to    *half
	path  []*wire // what it has yet to pass
}

func newWire(rate float64) *wire {
	w := &wire{rate: rate}
	w.some = sync.NewCond(&w.mu)
	return w
}

func (w *wire) put(p packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, p)
	w.some.Signal()
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.some.Signal()
}

func (w *wire) run() {
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.some.Wait()
		}
		if w.closed {
			w.mu.Unlock()
			return
		}
		p := w.queue[0]
		w.queue = w.queue[1:]
		w.mu.Unlock()
		<-time.After(time.Duration(float64(len(p.bytes)) / w.rate * float64(time.Second)))
		if len(p.path) == 0 {
			p.to.deliver(p.bytes)
			continue
		}
		next := p.path[0]
		p.path = p.path[1:]
		next.put(p)
	}
}

// half is one direction of a connection.
type half struct {
	path     []*wire
	window   int
	mu       sync.Mutex // guards those below
	change   *sync.Cond
	open     int // of the window: it opens with what has come, from little (slow start)
	arrived  []byte
	flying   int // bytes under way
	shut     bool
	deadline time.Time
	alarm    *time.Timer
}

func newHalf(window int) *half {
	h := &half{window: window, open: leastWindow}
	h.change = sync.NewCond(&h.mu)
	return h
}

func (h *half) deliver(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arrived = append(h.arrived, b...)
	h.flying -= len(b)
	h.change.Broadcast()
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shut = true
	if h.alarm != nil {
		h.alarm.Stop()
	}
	h.change.Broadcast()
}

func (h *half) write(b []byte) (int, error) {
	all := len(b)
	for len(b) > 0 {
		h.mu.Lock()
		for h.flying+len(h.arrived) >= h.open && !h.shut {
			h.change.Wait()
		}
		n := min(len(b), packetSize)
		if h.shut {
			h.mu.Unlock()
			return all - len(b), net.ErrClosed
		}
		h.flying += n
		h.mu.Unlock()
		if p := append([]byte(nil), b[:n]...); len(h.path) > 0 {
			h.path[0].put(packet{bytes: p, to: h, path: h.path[1:]})
		} else {
			h.deliver(p)
		}
		b = b[n:]
	}
	return all, nil
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.arrived) == 0 {
		switch {
		case h.shut && h.flying == 0:
			return 0, io.EOF
		case !h.deadline.IsZero() && !time.Now().Before(h.deadline):
			return 0, os.ErrDeadlineExceeded
		}
		h.change.Wait()
	}
	n := copy(b, h.arrived)
	h.arrived = h.arrived[n:]
	h.open = min(h.window, h.open+n)
	h.change.Broadcast()
	return n, nil
}

// readUntil sets the deadline of reads; zero is none.
func (h *half) readUntil(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = t
	if h.alarm != nil {
		h.alarm.Stop()
	}
	if !t.IsZero() && !h.shut {
		h.alarm = time.AfterFunc(time.Until(t), h.change.Broadcast)
	}
}

// netConn is one end. What waits to be sent is not bounded in time: nothing in
// these tests stops reading for as long as that.
type netConn struct {
	in, out       *half
	local, remote *netHost
	mu            sync.Mutex // guards closed
	closed        bool
}

func (c *netConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	return c.in.read(b)
}
func (c *netConn) Write(b []byte) (int, error) { return c.out.write(b) }

func (c *netConn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.in.close()
	c.out.close()
	return nil
}
func (c *netConn) LocalAddr() net.Addr               { return c.local }
func (c *netConn) RemoteAddr() net.Addr              { return c.remote }
func (c *netConn) SetDeadline(t time.Time) error     { return c.SetReadDeadline(t) }
func (c *netConn) SetWriteDeadline(time.Time) error  { return nil }
func (c *netConn) SetReadDeadline(t time.Time) error { c.in.readUntil(t); return nil }

// peer starts one at a host.
func (h *netHost) peer(t testing.TB, ctx context.Context) (conduct.Host, *chain.Peer) {
	t.Helper()
	g := chain.NewGrant()
	g.Conduct = true
	p, err := chain.Start(ctx, chain.Config{Dir: t.TempDir(), Listener: h, Dialer: chain.Dialer{Dial: h.dial}})
	if err != nil {
		t.Fatal(err)
	}
	p.Allow(g)
	return conduct.Host{Host: shape.Host{Name: h.name}, Address: h.name, Conduct: g}, p
}
