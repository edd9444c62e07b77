package link

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestConnectionsAreBounded opens more from one address than it may have, and
// one from another.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const maxPerAddress = 32
	b := newBounded(l, 2*maxPerAddress, maxPerAddress)
	taken := make(chan net.Conn, 2*maxPerAddress)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			taken <- c
		}
	}()
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for range maxPerAddress {
		dial("127.0.0.1")
	}
	more := dial("127.0.0.1")
	if _, err := more.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one more is taken: %v", err)
	}
	other := dial("127.0.0.2")
	for range maxPerAddress {
		(<-taken).Close()
	}
	last := <-taken
	if got := last.RemoteAddr().String(); got != other.LocalAddr().String() {
		t.Errorf("the last is of %s", got)
	}
	last.Close()
	dial("127.0.0.1") // there is room again
	select {
	case c := <-taken:
		c.Close()
	case <-time.After(time.Minute):
		t.Error("there is no room after all were closed")
	}
	l.Close()
	<-done
	if b.all != 0 || len(b.each) != 0 {
		t.Errorf("%d connections are counted, of %d addresses", b.all, len(b.each))
	}
}
