package ethernet

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// impaired sends count frames of size bytes, gap apart, through a port with the
// given impairment, in virtual time, and returns when they arrived after the
// first was sent.
func impaired(t *testing.T, i Impairment, count, size int, gap time.Duration) (at []time.Duration, lost uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := NewSwitch(testMTU)
		defer s.Close()
		begin := time.Now()
		out := outletFunc(func(f *Frame) { at = append(at, time.Since(begin)) })
		in, err := s.Plug(alice, &sink{})
		if err != nil {
			t.Fatal(err)
		}
		to, err := s.Plug(bob, out)
		if err != nil {
			t.Fatal(err)
		}
		to.Impair(i)
		b := frameOf(alice, bob, size-ipMinimum)
		for range count {
			f := s.pool.Get(len(b))
			copy(f.Bytes(), b)
			in.Input(f)
			time.Sleep(gap) // virtual: it only moves the test's clock
		}
		time.Sleep(time.Hour)
		lost = to.dropped[Lost].Load()
	})
	return at, lost
}

type outletFunc func(*Frame)

func (o outletFunc) Deliver(f *Frame) bool { o(f); f.Release(); return true }

func TestLatency(t *testing.T) {
	at, _ := impaired(t, Impairment{Latency: 40 * time.Millisecond}, 5, 100, 10*time.Millisecond)
	for i, got := range at {
		if want := time.Duration(i*10+40) * time.Millisecond; got != want {
			t.Errorf("frame %d came at %v, want %v", i, got, want)
		}
	}
	if len(at) != 5 {
		t.Errorf("%d frames came", len(at))
	}
}

func TestRate(t *testing.T) {
	at, _ := impaired(t, Impairment{Rate: 100_000}, 20, 1000, 0)
	for i, got := range at {
		if want := time.Duration(i+1) * 10 * time.Millisecond; got != want {
			t.Errorf("frame %d came at %v, want %v", i, got, want)
		}
	}
	if len(at) != 20 {
		t.Errorf("%d frames came", len(at))
	}
}

func TestJitter(t *testing.T) {
	const latency, jitter = 10 * time.Millisecond, 20 * time.Millisecond
	at, _ := impaired(t, Impairment{Latency: latency, Jitter: jitter, Seed: 1}, 500, 100, 100*time.Millisecond)
	least, most := time.Hour, time.Duration(0)
	for i, got := range at {
		d := got - time.Duration(i)*100*time.Millisecond
		least, most = min(least, d), max(most, d)
	}
	// 500 even draws from 20 ms: both ends are met within 1 ms, or it is not even.
	if least < latency || least > latency+time.Millisecond || most >= latency+jitter || most < latency+jitter-time.Millisecond {
		t.Errorf("delays from %v to %v", least, most)
	}
	if len(at) != 500 {
		t.Errorf("%d frames came", len(at))
	}
	for i := 1; i < len(at); i++ {
		if at[i] < at[i-1] {
			t.Errorf("frame %d came before its predecessor", i)
		}
	}
}

func TestLoss(t *testing.T) {
	const sent = 10000
	at, lost := impaired(t, Impairment{Loss: 0.2, Seed: 7}, sent, 100, time.Microsecond)
	if len(at)+int(lost) != sent {
		t.Errorf("%d came and %d were lost of %d", len(at), lost, sent)
	}
	// The seed fixes the number; 2,000 is expected, 40 the standard deviation.
	if lost < 1880 || lost > 2120 {
		t.Errorf("%d of %d lost at 20%%", lost, sent)
	}
	if _, again := impaired(t, Impairment{Loss: 0.2, Seed: 7}, sent, 100, time.Microsecond); again != lost {
		t.Errorf("the same seed lost %d, then %d", lost, again)
	}
	if at, _ := impaired(t, Impairment{Loss: 1}, 100, 100, 0); len(at) != 0 {
		t.Errorf("%d frames came through a loss of 1", len(at))
	}
}

// TestLineIsBounded proves that a slow line drops instead of growing.
func TestLineIsBounded(t *testing.T) {
	at, _ := impaired(t, Impairment{Latency: time.Minute}, 2*lineBytes/mediumBuffer, testMTU, 0)
	if got, want := len(at), lineBytes/(testMTU+Slack); got != want {
		t.Errorf("%d frames came, want %d", got, want)
	}
}

// TestRoundTripTakesTheLatencyTwice measures through real sockets: less than
// the latency is impossible, more is the machine's load.
func TestRoundTripTakesTheLatencyTwice(t *testing.T) {
	s := newTestSwitch(t)
	a, b := plug(t, s, alice, unix.SOCK_SEQPACKET), plug(t, s, bob, unix.SOCK_SEQPACKET)
	const latency = 30 * time.Millisecond
	b.port.Impair(Impairment{Latency: latency})
	begin := time.Now()
	a.send(frameOf(alice, bob, 1))
	b.receive()
	b.send(frameOf(bob, alice, 1))
	a.receive()
	if took := time.Since(begin); took < 2*latency {
		t.Errorf("a round trip took %v, less than twice %v", took, latency)
	}
	b.port.Impair(Impairment{})
	a.send(frameOf(alice, bob, 2))
	if got := b.receive(); len(got) != ipMinimum+2 {
		t.Errorf("after the impairment: %d bytes", len(got))
	}
	b.port.Unplug()
	b.port.Impair(Impairment{Loss: 1}) // does nothing, and starts nothing
}
