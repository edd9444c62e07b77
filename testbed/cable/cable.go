// Package cable is a way to a server that tests cut: at once, or after so many bytes
// have come back on it. What is under way then breaks off, and nobody connects any more,
// as if the server's host had lost its power.
package cable

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Cable passes connections on to one server. Its methods may be called concurrently.
type Cable struct {
	Addr string // where it listens, on this host: host:port

	to       string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	ends    []net.Conn
	bounded bool
	left    int64 // bytes that may still come back, if bounded
	cut     bool
	then    func()
}

// Lay lays a cable to the server at the address to, host:port. It is cut when the test
// ends.
func Lay(t testing.TB, to string) *Cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cable{Addr: l.Addr().String(), to: to, listener: l}
	c.running.Go(c.accept)
	t.Cleanup(func() {
		c.Cut()
		c.running.Wait()
	})
	return c
}

// CutAfter has the cable be cut once so many bytes have come back, on all connections
// together, and then called, if it is not nil.
func (c *Cable) CutAfter(bytes int64, then func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bounded, c.left, c.then = true, bytes, then
}

// Cut ends all connections; there are no new ones.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	c.listener.Close()
	for _, end := range c.ends {
		end.Close()
	}
}

// WasCut says whether it was.
func (c *Cable) WasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

func (c *Cable) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return // it was cut
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil {
			in.Close()
			continue
		}
		if !c.hold(in, out) {
			continue
		}
		c.running.Go(func() {
			_, _ = io.Copy(out, in) // until either side ends, or the cut
			out.Close()
		})
		c.running.Go(func() {
			c.back(in, out)
			in.Close()
		})
	}
}

// hold notes the ends of a connection, unless the cable was cut.
func (c *Cable) hold(in, out net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		in.Close()
		out.Close()
		return false
	}
	c.ends = append(c.ends, in, out)
	return true
}

// back passes on what comes from the server.
func (c *Cable) back(in, out net.Conn) {
	b := make([]byte, 16<<10)
	for {
		n, err := out.Read(b)
		k, last, then := c.take(n)
		_, werr := in.Write(b[:k])
		if last {
			c.Cut()
		}
		if last && then != nil {
			then()
		}
		if last || k < n || err != nil || werr != nil {
			return
		}
	}
}

// take says how many of n bytes may come back, and whether these are the last ones, and
// what to call then.
func (c *Cable) take(n int) (k int, last bool, then func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.bounded {
		return n, false, nil
	}
	had := c.left > 0
	k = int(min(int64(n), c.left))
	c.left -= int64(k)
	return k, had && c.left == 0, c.then
}
