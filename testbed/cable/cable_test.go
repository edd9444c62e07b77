package cable

import (
	"io"
	"net"
	"strings"
	"testing"
)

// What may come back comes, and nothing else; then nobody connects.
func TestCutAfter(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, strings.Repeat("x", 100_000))
			c.Close()
		}
	}()
	c := Lay(t, l.Addr().String())
	read := func() int {
		t.Helper()
		conn, err := net.Dial("tcp", c.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		b, _ := io.ReadAll(conn) // it may be broken off
		return len(b)
	}
	if n := read(); n != 100_000 || c.WasCut() {
		t.Errorf("%d bytes came, cut: %v", n, c.WasCut())
	}
	over := make(chan bool, 1)
	c.CutAfter(150_000, func() { over <- true })
	if n := read(); n != 100_000 || c.WasCut() {
		t.Errorf("%d bytes came, cut: %v", n, c.WasCut())
	}
	if n := read(); n > 50_000 {
		t.Errorf("%d bytes came", n)
	}
	<-over
	if conn, err := net.Dial("tcp", c.Addr); err == nil {
		conn.Close()
		t.Error("one can connect still")
	}
	if !c.WasCut() {
		t.Error("it does not know that it was cut")
	}
}
