package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
)

// pair returns both ends of a session.
func pair(t *testing.T) (host, machine *Session) {
	t.Helper()
	a, b := net.Pipe()
	host, machine = NewSession(a, true), NewSession(b, false)
	t.Cleanup(func() { host.Close(); machine.Close() })
	return host, machine
}

// connect opens a stream from one end and accepts it at the other.
func connect(t *testing.T, from, to *Session) (*Stream, *Stream) {
	t.Helper()
	a, err := from.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := to.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestStreamsCarryBytesBothWaysAtOnce(t *testing.T) {
	host, machine := pair(t)
	var all sync.WaitGroup
	for i := range 20 {
		from, to := host, machine
		if i%2 == 1 {
			from, to = machine, host
		}
		a, b := connect(t, from, to)
		for _, s := range [][2]*Stream{{a, b}, {b, a}} {
			data := make([]byte, 700_000+i)
			r := rand.NewChaCha8([32]byte{byte(i)})
			r.Read(data)
			all.Go(func() {
				for p := data; len(p) > 0; {
					n := min(len(p), 1+rand.IntN(100_000))
					if _, err := s[0].Write(p[:n]); err != nil {
						t.Error(err)
						return
					}
					p = p[n:]
				}
				s[0].CloseWrite()
			})
			all.Go(func() {
				got, err := io.ReadAll(s[1])
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("stream %d: %d of %d bytes, error %v", s[1].id, len(got), len(data), err)
				}
			})
		}
	}
	all.Wait()
	for _, s := range []*Session{host, machine} {
		s.mu.Lock()
		if len(s.streams) != 0 || s.theirs != 0 {
			t.Errorf("%d streams are left, %d of the other side", len(s.streams), s.theirs)
		}
		s.mu.Unlock()
	}
}

func TestAStreamThatNobodyReadsHoldsUpOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, machine := pair(t)
		stuck, deaf := connect(t, host, machine)
		sent := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				n, err := stuck.Write(make([]byte, 1000))
				sent += n
				if err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		a, b := connect(t, host, machine)
		go func() { a.Write([]byte("through")); a.CloseWrite() }()
		if got, err := io.ReadAll(b); string(got) != "through" || err != nil {
			t.Errorf("other stream: %q, %v", got, err)
		}
		deaf.Reset()
		<-done
		if sent > HostWindow {
			t.Errorf("%d bytes were sent to one who reads nothing, the window is %d", sent, HostWindow)
		}
	})
}

func TestReadFinishesWhatCameBeforeTheEnd(t *testing.T) {
	host, machine := pair(t)
	a, b := connect(t, host, machine)
	a.Write([]byte("last words"))
	buf := make([]byte, 4)
	io.ReadFull(b, buf)
	host.Close()
	<-machine.Done()
	rest, err := io.ReadAll(b)
	if string(rest) != " words" || err == nil {
		t.Errorf("got %q, %v", rest, err)
	}
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("write after the session's end: no error")
	}
	if _, err := machine.Open(); err == nil {
		t.Error("open after the session's end: no error")
	}
}

func TestResetEndsWriterAndReader(t *testing.T) {
	host, machine := pair(t)
	a, b := connect(t, host, machine)
	errs := make(chan error, 2)
	go func() { _, err := a.Write(make([]byte, 2*HostWindow)); errs <- err }()
	c, d := connect(t, host, machine)
	go func() { _, err := c.Read(make([]byte, 1)); errs <- err }()
	b.Reset()
	d.Reset()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrReset) {
			t.Errorf("error %v, want %v", err, ErrReset)
		}
	}
}

func TestTooManyStreams(t *testing.T) {
	host, machine := pair(t)
	for range MaxStreams {
		if _, err := machine.Open(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := machine.Open(); err == nil {
		t.Error("one more stream than the limit: no error")
	}
	if _, err := host.Accept(); err != nil {
		t.Fatal(err)
	}
}

// hostile gives a session what a peer of bad will sends, and returns why the
// session ended. The peer reads nothing that is answered.
func hostile(t *testing.T, sent []byte) error {
	t.Helper()
	a, b := net.Pipe()
	s := NewSession(a, true)
	go func() { b.Write(sent); b.Close() }()
	<-s.Done()
	err := s.Err()
	s.Close()
	return err
}

func TestHostilePeerIsCutOff(t *testing.T) {
	f := func(k kind, id uint32, payload []byte) []byte { return appendFrame(nil, k, id, payload) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	flood := f(kindOpen, 2, nil)
	for range MachineWindow/maxPayload + 1 {
		flood = append(flood, f(kindData, 2, make([]byte, maxPayload))...)
	}
	var opens []byte
	for i := range uint32(20_000) {
		opens = append(opens, f(kindOpen, 2+2*i, nil)...)
	}
	for summary, sent := range map[string][]byte{
		"unknown kind":              {9, 0, 0, 0, 0, 0, 0, 2},
		"frame too long":            {2, 0xff, 0xff, 0xff, 0, 0, 0, 2},
		"empty data":                join(f(kindOpen, 2, nil), f(kindData, 2, nil)),
		"stream of the host":        f(kindOpen, 1, nil),
		"stream zero":               f(kindOpen, 0, nil),
		"descending streams":        join(f(kindOpen, 4, nil), f(kindOpen, 2, nil)),
		"data for no stream":        f(kindData, 2, []byte("x")),
		"data for a future one":     f(kindData, 1, []byte("x")),
		"more than the window":      flood,
		"window that grows":         join(f(kindOpen, 2, nil), f(kindWindow, 2, []byte{0, 0, 0, 1})),
		"window far too large":      join(f(kindOpen, 2, nil), f(kindWindow, 2, []byte{255, 255, 255, 255})),
		"ended twice":               join(f(kindOpen, 2, nil), f(kindEnd, 2, nil), f(kindEnd, 2, nil)),
		"data after the end":        join(f(kindOpen, 2, nil), f(kindEnd, 2, nil), f(kindData, 2, []byte("x"))),
		"streams without end":       opens,
		"end in the middle of data": {2, 0, 0, 9, 0, 0, 0, 2, 'x'},
	} {
		err := hostile(t, sent)
		cut := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
		if want := summary == "end in the middle of data"; cut != want || err == nil {
			t.Errorf("%s: the session ended with %v", summary, err)
		}
	}
}

func FuzzSession(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, kindOpen, 2, nil), kindData, 2, []byte("hello")))
	f.Add(appendFrame(appendFrame(nil, kindOpen, 2, nil), kindWindow, 2, []byte{0, 0, 0, 1}))
	f.Add(appendFrame(appendFrame(nil, kindOpen, 2, nil), kindReset, 2, nil))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if hostile(t, sent) == nil {
			t.Error("the session goes on after its end")
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("o\x00\x00\x02hi"))
	f.Add([]byte("x\x00\x00\x0a{\"Code\":3}"))
	f.Add([]byte("r\x00\x00\x04\x00\x20\x00\x50"))
	f.Fuzz(func(t *testing.T, in []byte) {
		buf := make([]byte, MaxFrame)
		k, p, err := ReadFrame(bytes.NewReader(in), buf)
		if err != nil {
			return
		}
		if k == Ended {
			ParseExit(p)
		}
		var out bytes.Buffer
		if err := WriteFrame(&out, k, p); err != nil || !bytes.HasPrefix(in, out.Bytes()) {
			t.Errorf("%q read as %q %q is written as %q (%v)", in, k, p, out.Bytes(), err)
		}
	})
}

func FuzzGreeting(f *testing.F) {
	f.Add([]byte(Magic + "\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ReceiveHello(bytes.NewReader(in))
		ReceiveRequest(bytes.NewReader(in))
	})
}

func TestGreetingIsBounded(t *testing.T) {
	for summary, in := range map[string]string{
		"another magic": "SSH-2.0-x\r\n\r\n",
		"too long":      Magic + "\x7f\xff\xff\xff",
		"not JSON":      Magic + "\x00\x00\x00\x02xx",
		"cut":           Magic + "\x00\x00\x00\x09{}",
	} {
		if _, err := ReceiveHello(bytes.NewReader([]byte(in))); err == nil {
			t.Errorf("%s: no error", summary)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	x, y := net.Pipe()
	host, machine := NewSession(x, true), NewSession(y, false)
	defer host.Close()
	defer machine.Close()
	st, _ := host.Open()
	in, _ := machine.Accept()
	go io.Copy(io.Discard, in)
	p := make([]byte, 32<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := st.Write(p); err != nil {
			b.Fatal(err)
		}
	}
}
