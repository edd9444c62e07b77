package datagram

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; reaching it is a failure.
const patience = 2 * time.Minute

var loopback = netip.MustParseAddr("127.0.0.1")

// port reserves a port that others may share, as a mesh does.
func port(t testing.TB) netip.AddrPort {
	t.Helper()
	lc := net.ListenConfig{Control: Shared}
	p, err := lc.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return netip.AddrPortFrom(loopback, p.LocalAddr().(*net.UDPAddr).AddrPort().Port())
}

func dial(t testing.TB, from, to netip.AddrPort) *Path {
	t.Helper()
	p, err := DialUDP(context.Background(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// collect reads a path until it is closed.
func collect(t testing.TB, p *Path) <-chan []byte {
	got := make(chan []byte, 1<<16)
	var running sync.WaitGroup
	running.Go(func() { p.Read(func(b []byte, _ time.Time) { got <- bytes.Clone(b) }) })
	t.Cleanup(func() { p.Close(); running.Wait() })
	return got
}

func next(t testing.TB, got <-chan []byte) []byte {
	t.Helper()
	select {
	case b := <-got:
		return b
	case <-time.After(patience):
		t.Fatal("nothing came")
		return nil
	}
}

// TestUDPCarries sends what the kernel cuts, what it does not, and with the
// cutting turned off: the datagrams that come are the same.
func TestUDPCarries(t *testing.T) {
	for _, wide := range []bool{true, false} {
		a, b := port(t), port(t)
		k := &socket{}
		p := dialSocket(t, a, b, &k)
		k.wide = k.wide && wide
		got := collect(t, dial(t, b, a))
		for _, size := range []int{BaseSize, 1472, 9000, MostSize} {
			for _, n := range []int{1, size - 1, size, size + 1, 3*size + 7, min(Segments*size, MostSize)} {
				sent := make([]byte, min(n, MostSize))
				for i := range sent {
					sent[i] = byte(i * 7)
				}
				if err := p.Send(sent, size); err != nil {
					t.Fatalf("%d bytes in datagrams of %d: %v", n, size, err)
				}
				for len(sent) > 0 {
					want := sent[:min(size, len(sent))]
					if b := next(t, got); !bytes.Equal(b, want) {
						t.Fatalf("wide %v: a datagram of %d came as %d", wide, len(want), len(b))
					}
					sent = sent[len(want):]
				}
			}
		}
	}
}

// dialSocket is dial that also gives the socket.
func dialSocket(t testing.TB, from, to netip.AddrPort, k **socket) *Path {
	t.Helper()
	s, err := open(context.Background(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	*k = s
	p := s.path()
	t.Cleanup(p.Close)
	return p
}

// TestPeersAreApart proves that one port serves several peers and that each gets
// its own datagrams, a stranger's going nowhere.
func TestPeersAreApart(t *testing.T) {
	here, x, y, z := port(t), port(t), port(t), port(t)
	fromX, fromY := collect(t, dial(t, here, x)), collect(t, dial(t, here, y))
	px, py, stranger := dial(t, x, here), dial(t, y, here), dial(t, z, here)
	for i := range 100 {
		for _, s := range []struct {
			p    *Path
			text string
		}{{stranger, "z"}, {px, "x"}, {py, "y"}} {
			if err := s.p.Send([]byte(fmt.Sprint(s.text, i)), BaseSize); err != nil {
				t.Fatal(err)
			}
		}
		if b := next(t, fromX); string(b) != fmt.Sprint("x", i) {
			t.Fatalf("x's path got %q", b)
		}
		if b := next(t, fromY); string(b) != fmt.Sprint("y", i) {
			t.Fatalf("y's path got %q", b)
		}
	}
}

// TestNobodyThere: what a host that is not there has refused is no failure of
// what comes after, when it is there.
func TestNobodyThere(t *testing.T) {
	a := port(t)
	lc := net.ListenConfig{Control: Shared}
	c, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := c.LocalAddr().(*net.UDPAddr).AddrPort()
	c.Close()
	p := dial(t, a, b)
	reading := collect(t, p)
	for range 100 {
		// Each is refused by ICMP, which the kernel tells at a later call.
		_ = p.Send(make([]byte, 10), 2)
	}
	other := collect(t, dial(t, b, a))
	if err := p.Send([]byte("now"), BaseSize); err != nil {
		t.Errorf("a refusal of before: %v", err)
	}
	if got := next(t, other); string(got) != "now" {
		t.Errorf("got %q", got)
	}
	select {
	case b := <-reading:
		t.Errorf("got %q from nobody", b)
	default:
	}
}

func TestTooLarge(t *testing.T) {
	a, b := port(t), port(t)
	p, got := dial(t, a, b), collect(t, dial(t, b, a))
	if err := p.Send(make([]byte, MostSize+1), MostSize+1); err == nil {
		t.Error("a datagram that no packet holds was sent")
	}
	if n := p.Ceiling(); n < BaseSize || n > MostSize {
		t.Errorf("the interface takes %d", n)
	}
	if err := p.Send([]byte("x"), BaseSize); err != nil {
		t.Fatal(err)
	}
	if b := next(t, got); string(b) != "x" {
		t.Errorf("got %d bytes", len(b))
	}
}

func TestStream(t *testing.T) {
	x, y := net.Pipe()
	p, got := NewStream(x), collect(t, NewStream(y))
	t.Cleanup(p.Close)
	sent := bytes.Repeat([]byte("0123456789"), 1000)
	for _, size := range []int{1, 9999, 10000, streamSize} {
		done := make(chan error, 1)
		go func() { done <- p.Send(sent[:min(len(sent), 100*size)], size) }()
		for left := sent[:min(len(sent), 100*size)]; len(left) > 0; {
			b := next(t, got)
			if len(b) != min(size, len(left)) || !bytes.Equal(b, left[:len(b)]) {
				t.Fatalf("%d bytes came as %d", size, len(b))
			}
			left = left[len(b):]
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestStreamEnds with what is no datagram, and with what the other side closes.
func TestStreamEnds(t *testing.T) {
	for name, text := range map[string][]byte{"nothing": nil, "an empty one": {0, 0}, "a giant": {0xff, 0xff}, "half of one": {0, 9, 1}} {
		ended := make(chan error, 1)
		go func() { ended <- readStream(bytes.NewReader(text), func([]byte, time.Time) {}) }()
		select {
		case err := <-ended:
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case <-time.After(patience):
			t.Errorf("%s: it waits for more", name)
		}
	}
	x, y := net.Pipe()
	p := NewStream(x)
	y.Close()
	if err := p.Send([]byte("x"), 10); err == nil || !p.Ended() {
		t.Errorf("a closed stream: %v", err)
	}
	p.Close()
	if _, err := ReadFirst(bytes.NewReader([]byte{0, 2, 1}), 2); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a datagram: %v", err)
	}
	if _, err := ReadFirst(bytes.NewReader([]byte{0, 3, 1, 2}), 2); err == nil {
		t.Error("one of another size was taken")
	}
}

// TestStalledStream gives up a connection whose other end takes nothing.
func TestStalledStream(t *testing.T) {
	x, y := net.Pipe()
	defer y.Close()
	x.SetWriteDeadline(time.Now())
	p := NewStream(&hurried{x})
	if err := p.Send([]byte("x"), 10); !errors.Is(err, os.ErrDeadlineExceeded) || !p.Ended() {
		t.Errorf("got %v", err)
	}
}

// hurried is a connection whose deadlines are over at once.
type hurried struct{ net.Conn }

func (h *hurried) SetWriteDeadline(time.Time) error { return h.Conn.SetWriteDeadline(time.Now()) }

// FuzzStream proves that what comes out is what went in, however it is cut.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 1, 7, 0, 2, 8, 9})
	f.Add([]byte{0x80, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := readStream(bytes.NewReader(b), func(d []byte, _ time.Time) {
			if len(d) == 0 || len(d) > streamSize {
				t.Fatalf("a datagram of %d bytes", len(d))
			}
			again = append(binary.BigEndian.AppendUint16(again, uint16(len(d))), d...)
		})
		if err == nil || !bytes.HasPrefix(b, again) {
			t.Fatalf("%x was read as %x, %v", b, again, err)
		}
	})
}
