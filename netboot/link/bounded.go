package link

import (
	"net"
	"net/netip"
	"sync"
)

// Bound returns a listener that takes so many connections of l at a time, and so
// many of one address; it closes those beyond that at once.
func Bound(l net.Listener, all, each int) net.Listener { return newBounded(l, all, each) }

// bounded is such a listener.
type bounded struct {
	net.Listener
	most, mostEach int

	mu   sync.Mutex // guards what follows
	all  int
	each map[netip.Addr]int
}

func newBounded(l net.Listener, all, each int) *bounded {
	return &bounded{Listener: l, most: all, mostEach: each, each: map[netip.Addr]int{}}
}

// Accept returns the next connection within the bounds.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if b.enter(from) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { b.leave(from) })}, nil
		}
		c.Close()
	}
}

func (b *bounded) enter(from netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= b.most || b.each[from] >= b.mostEach {
		return false
	}
	b.all++
	b.each[from]++
	return true
}

func (b *bounded) leave(from netip.Addr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	if b.each[from]--; b.each[from] == 0 {
		delete(b.each, from)
	}
}

// counted makes room for another connection when it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
