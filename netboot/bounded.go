package netboot

import (
	"net"
	"net/netip"
	"sync"
)

const (
	// maxConnections bounds goroutines and descriptors: a rack of machines, some
	// connections each.
	maxConnections = 1024
	// maxPerAddress is how many one address may have: an installer's that loads
	// several files at once, and reports.
	maxPerAddress = 32
)

// bounded is a listener that takes so many connections at a time; it closes
// those beyond the bounds at once.
type bounded struct {
	net.Listener

	mu   sync.Mutex // guards what follows
	all  int
	each map[netip.Addr]int
}

func newBounded(l net.Listener) *bounded {
	return &bounded{Listener: l, each: map[netip.Addr]int{}}
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
	if b.all >= maxConnections || b.each[from] >= maxPerAddress {
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
