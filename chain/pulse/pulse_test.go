package pulse

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// source is a connection to a host in a testing/synctest bubble.
type source struct {
	net.Conn
	gone bool // nothing comes from there any more, and nothing is acknowledged
	wait time.Time
	said int // times that it was asked
	last time.Time
}

func (s *source) SetReadDeadline(t time.Time) error {
	s.wait = t
	return nil
}

func (s *source) Read([]byte) (int, error) {
	<-time.After(time.Until(s.wait))
	return 0, os.ErrDeadlineExceeded
}

func (s *source) Write(b []byte) (int, error) {
	s.said++
	s.last = time.Now()
	return len(b), nil
}

func (s *source) Unanswered() time.Duration {
	if !s.gone {
		return 0
	}
	return time.Since(s.last)
}

func TestWhoIsGoneIsFoundSoonerThanWhoIsBusy(t *testing.T) {
	for _, c := range []struct {
		summary     string
		from        source
		ask         string
		new         bool
		least, most time.Duration
	}{
		{"gone", source{gone: true}, "?", false, 350 * time.Millisecond, 450 * time.Millisecond},
		{"busy", source{}, "?", false, time.Second, time.Second},
		{"gone, and not to be asked", source{gone: true}, "", false, time.Second, time.Second},
		{"gone from the beginning", source{gone: true}, "?", true, 4 * time.Second, 4 * time.Second},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				r := Reader{Conn: &c.from, Silence: time.Second, Ask: []byte(c.ask), heard: !c.new}
				_, err := r.Read(make([]byte, 1))
				if took := time.Since(begun); err == nil || took < c.least || took > c.most {
					t.Errorf("given up after %v with %v, want %v to %v", took, err, c.least, c.most)
				}
				if asked := c.ask != "" && !c.new; c.from.said > 0 != asked || c.from.said > 1 {
					t.Errorf("asked %d times", c.from.said)
				}
			})
		})
	}
}

// connect connects two ends over a network of their own, which cut cuts.
func connect(t *testing.T) (near, far *net.TCPConn, cut func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network of its own needs root")
	}
	runtime.LockOSThread() // and stays so: the thread ends with the test, and with it the network
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	flags := func(v uint16) {
		r, err := unix.NewIfreq("lo")
		if err != nil {
			t.Fatal(err)
		}
		r.SetUint16(v)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			t.Fatal(err)
		}
	}
	flags(unix.IFF_UP)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn), func() { flags(0) }
}

// A program that does not run is told from a host that is not there, by the kernel's
// own word.
func TestTheKernelSaysWhoIsThere(t *testing.T) {
	near, far, cut := connect(t)
	if _, err := far.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	r := Reader{Conn: near, Silence: time.Second, Ask: make([]byte, 4)}
	if _, err := io.ReadFull(&r, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	// Nobody reads at the other end.
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "acknowledges") {
		t.Errorf("of a program that does nothing: %v", err)
	}
	cut()
	r.Silence = 5 * time.Second // which is long enough that a busy machine asks in it
	begun := time.Now()
	_, err := r.Read(make([]byte, 1))
	if err == nil || !strings.Contains(err.Error(), "acknowledges nothing") {
		t.Errorf("of a host that is gone, after %v: %v", time.Since(begun), err)
	}
}
