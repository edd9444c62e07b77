package home

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

// pair makes both ends of a stream over plain memory, with a socket pair for
// the bells.
func pair(t *testing.T) (host, guest *Stream, memory []byte) {
	t.Helper()
	memory = make([]byte, MemorySize)
	ours, f, err := SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if host, err = New(Host, memory, ours, nil); err != nil {
		t.Fatal(err)
	}
	if guest, err = New(Guest, memory, theirs, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		host.Close()
		guest.Close()
		goleak.VerifyNone(t)
	})
	return host, guest, memory
}

// TestBothWays sends other bytes in each direction at the same time, in pieces
// of all sizes, several rings' worth.
func TestBothWays(t *testing.T) {
	host, guest, _ := pair(t)
	const n = 5*RingSize + 12345
	errs := make(chan error, 4)
	for i, s := range []*Stream{host, guest} {
		seed, other := [32]byte{byte(i)}, [32]byte{byte(1 - i)}
		go func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			src := rand.NewChaCha8(seed)
			for left := n; left > 0; {
				k := min(left, 1+r.IntN(3*RingSize/2))
				if _, err := io.CopyBuffer(onlyWriter{s}, io.LimitReader(src, int64(k)), make([]byte, k)); err != nil {
					errs <- err
					return
				}
				left -= k
			}
			errs <- nil
		}()
		go func() {
			var in io.Reader = s
			if i == 1 {
				in = iotest.HalfReader(s)
			}
			got, want := make([]byte, n), make([]byte, n)
			_, err := io.ReadFull(in, got)
			rand.NewChaCha8(other).Read(want)
			if err == nil && !bytes.Equal(got, want) {
				err = errors.New("other bytes came than were sent")
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

type onlyWriter struct{ io.Writer }

// TestPingPong waits for each byte, so that every one needs a bell.
func TestPingPong(t *testing.T) {
	host, guest, _ := pair(t)
	done := make(chan error, 1)
	const n = 2000
	go func() {
		_, err := io.CopyN(guest, guest, n)
		done <- err
	}()
	b := make([]byte, 1)
	for i := range n {
		if _, err := host.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := host.Read(b); err != nil || b[0] != byte(i) {
			t.Fatalf("byte %d came back as %d, %v", byte(i), b[0], err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestClose: what was written before the end is read, then comes the end.
func TestClose(t *testing.T) {
	host, guest, _ := pair(t)
	if _, err := host.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(guest); err != nil || string(b) != "last words" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := host.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading after Close: %v", err)
	}
	if _, err := host.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
}

// TestCloseInterrupts: Close ends a Read and a Write that wait.
func TestCloseInterrupts(t *testing.T) {
	host, _, _ := pair(t)
	errs := make(chan error, 2)
	go func() {
		_, err := host.Read(make([]byte, 1))
		errs <- err
	}()
	go func() {
		_, err := host.Write(make([]byte, RingSize+1))
		errs <- err
	}()
	host.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

// TestBroken: a guest that writes nonsense into the memory gets an error and
// cannot make the host read or write outside the ring.
func TestBroken(t *testing.T) {
	for name, w := range map[string]int{"read": 7, "write": 3} { // the guest's head and tail
		t.Run(name, func(t *testing.T) {
			host, _, memory := pair(t)
			word(memory, w).Store(1 << 40)
			err := error(nil)
			if name == "read" {
				_, err = host.Read(make([]byte, 1))
			} else {
				_, err = host.Write([]byte("x"))
			}
			if !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := New(Guest, make([]byte, MemorySize), nil, nil); !errors.Is(err, ErrBroken) {
		t.Errorf("memory that no host prepared: %v", err)
	}
}

// FuzzRing lets the other side's words be anything.
func FuzzRing(f *testing.F) {
	f.Add(uint64(0), uint64(0), uint16(10))
	f.Add(uint64(RingSize), uint64(1), uint16(1))
	f.Add(^uint64(0), uint64(1<<63), uint16(65535))
	f.Fuzz(func(t *testing.T, head, tail uint64, n uint16) {
		memory := make([]byte, MemorySize)
		r := newRing(memory, 2, memory[headerSize:headerSize+RingSize])
		r.head.Store(head)
		if got, _, err := r.read(make([]byte, n)); err == nil && uint64(got) > head {
			t.Errorf("read %d bytes of a ring that had %d", got, head)
		}
		w := newRing(memory, 7, memory[headerSize+RingSize:])
		w.tail.Store(tail)
		if got, err := w.write(make([]byte, n)); err == nil && got > RingSize {
			t.Errorf("wrote %d bytes", got)
		}
	})
}
