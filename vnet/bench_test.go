package vnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
)

// Guests of these benchmarks are network stacks in this process, so that each
// byte is handled at least twice by the processor that is being measured.

// pour sends b.N chunks from one end to the other.
func pour(b *testing.B, from, to net.Conn) {
	b.Helper()
	chunk := make([]byte, 1<<20)
	b.SetBytes(int64(len(chunk)))
	b.ResetTimer()
	sent := make(chan error, 1)
	go func() {
		for range b.N {
			if _, err := from.Write(chunk); err != nil {
				sent <- err
				return
			}
		}
		sent <- from.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{to})
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
	if err != nil || got != int64(b.N)<<20 {
		b.Fatalf("%d bytes, %v", got, err)
	}
}

// accepted returns both ends of a connection.
func accepted(b *testing.B, l net.Listener, dial func() net.Conn) (dialled, taken net.Conn) {
	b.Helper()
	got := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			b.Error(err)
		}
		got <- c
	}()
	dialled = dial()
	return dialled, <-got
}

var benchMTUs = []int{1500, 9000, 16000, 32000, 65000}

func BenchmarkGuestToGuest(b *testing.B) {
	for _, mtu := range benchMTUs {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			n := newNet(b, Config{MTU: mtu})
			from, to := newGuest(b, n, "m0"), newGuest(b, n, "m1")
			c, s := accepted(b, to.listen(7), func() net.Conn { return from.mustDial(netip.AddrPortFrom(to.IP, 7)) })
			defer c.Close()
			defer s.Close()
			pour(b, c, s)
		})
	}
}

func BenchmarkGuestToGateway(b *testing.B) {
	for _, mtu := range benchMTUs {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			n := newNet(b, Config{MTU: mtu})
			g := newGuest(b, n, "m0")
			l, err := n.Listen(7)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			c, s := accepted(b, l, func() net.Conn { return g.mustDial(netip.AddrPortFrom(g.Gateway, 7)) })
			defer c.Close()
			defer s.Close()
			pour(b, c, s)
		})
	}
}

func BenchmarkGatewayToGuest(b *testing.B) {
	for _, mtu := range benchMTUs {
		b.Run(fmt.Sprint(mtu), func(b *testing.B) {
			n := newNet(b, Config{MTU: mtu})
			g := newGuest(b, n, "m0")
			c, s := accepted(b, g.listen(7), func() net.Conn {
				c, err := n.DialContext(b.Context(), "m0", 7)
				if err != nil {
					b.Fatal(err)
				}
				return c
			})
			defer c.Close()
			defer s.Close()
			pour(b, c, s)
		})
	}
}
