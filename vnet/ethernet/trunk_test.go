package ethernet

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	dave  = Identity{MAC: MAC{2, 0, 0, 0, 0, 4}, IP: IPv4{10, 0, 0, 4}}
	erin  = Identity{MAC: MAC{2, 0, 0, 0, 0, 5}, IP: IPv4{10, 0, 0, 5}}
	frank = Identity{MAC: MAC{2, 0, 0, 0, 0, 6}, IP: IPv4{10, 0, 0, 6}}
)

// log is an outlet that keeps what it is given.
type log struct{ frames [][]byte }

func (l *log) Deliver(f *Frame) bool {
	l.frames = append(l.frames, bytes.Clone(f.Bytes()))
	f.Release()
	return true
}

// last returns what came since it was last asked.
func (l *log) last() [][]byte {
	defer func() { l.frames = nil }()
	return l.frames
}

func plugTrunk(t *testing.T, s *Switch, out Outlet, ids ...Identity) *Trunk {
	t.Helper()
	k, err := s.PlugTrunk(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Set(ids); err != nil {
		t.Fatal(err)
	}
	return k
}

func input(s *Switch, give func(*Frame), b []byte) {
	f := s.pool.full()
	f.n = copy(f.buf, b)
	give(f)
}

// TestTrunkCarries proves what goes through a trunk and how often.
func TestTrunkCarries(t *testing.T) {
	s := newTestSwitch(t)
	here, router := &log{}, &log{}
	west, east := &log{}, &log{}
	a, err := s.Plug(alice, here)
	if err != nil {
		t.Fatal(err)
	}
	gateway := carol
	gateway.Router = true
	g, err := s.Plug(gateway, router)
	if err != nil {
		t.Fatal(err)
	}
	w := plugTrunk(t, s, west, dave, erin)
	plugTrunk(t, s, east, frank)
	everyone := Identity{MAC: all, IP: IPv4{255, 255, 255, 255}}
	for _, c := range []struct {
		summary                  string
		from                     func(*Frame)
		frame                    []byte
		here, router, west, east int
	}{
		{"to a machine there", a.Input, frameOf(alice, dave, 10), 0, 0, 1, 0},
		{"to its neighbour", a.Input, frameOf(alice, erin, 10), 0, 0, 1, 0},
		{"to another host", a.Input, frameOf(alice, frank, 10), 0, 0, 0, 1},
		{"to all, from here: once to each host", a.Input, frameOf(alice, everyone, 10), 0, 1, 1, 1},
		{"a question about a machine there", a.Input, arpOf(1, alice, erin), 0, 0, 1, 0},
		{"from there to here", w.Input, frameOf(dave, alice, 10), 1, 0, 0, 0},
		{"a question from there", w.Input, arpOf(1, erin, alice), 1, 0, 0, 0},
		{"to all, from there: not to other hosts, not to the gateway", w.Input, frameOf(erin, everyone, 10), 1, 0, 0, 0},
		{"from one host to another", w.Input, frameOf(dave, frank, 10), 0, 0, 0, 0},
		{"back to where it came from", w.Input, frameOf(dave, erin, 10), 0, 0, 0, 0},
		{"from there to our gateway", w.Input, frameOf(dave, gateway, 10), 0, 0, 0, 0},
		{"from our gateway to there", g.Input, frameOf(gateway, dave, 10), 0, 0, 0, 0},
		{"from our gateway to all", g.Input, frameOf(gateway, everyone, 10), 1, 0, 0, 0},
		{"in the name of a machine here", w.Input, frameOf(alice, alice, 10), 0, 0, 0, 0},
		{"in the name of another host's", w.Input, frameOf(frank, alice, 10), 0, 0, 0, 0},
		{"with another's IP", w.Input, changed(frameOf(dave, alice, 10), ipSrc+3, 5), 0, 0, 0, 0},
		{"in the name of nobody", w.Input, frameOf(bob, alice, 10), 0, 0, 0, 0},
		{"a runt", w.Input, []byte{1, 2, 3}, 0, 0, 0, 0},
	} {
		input(s, c.from, c.frame)
		for name, p := range map[string]struct {
			got  [][]byte
			want int
		}{"here": {here.last(), c.here}, "the gateway": {router.last(), c.router}, "west": {west.last(), c.west}, "east": {east.last(), c.east}} {
			if len(p.got) != p.want {
				t.Errorf("%s: %s got %d frames, want %d", c.summary, name, len(p.got), p.want)
			}
			for _, f := range p.got {
				if !bytes.Equal(f, c.frame) {
					t.Errorf("%s: %s got %x", c.summary, name, f)
				}
			}
		}
	}
	got := w.Stats()
	for v, want := range map[Verdict]uint64{Spoofed: 4, Runt: 1, Unknown: 3} {
		if got.Dropped[v.String()] != want {
			t.Errorf("%d dropped as %v, want %d", got.Dropped[v.String()], v, want)
		}
	}
}

// TestStormThroughTrunk proves that each machine there has its own rate, and no more.
func TestStormThroughTrunk(t *testing.T) {
	s := newTestSwitch(t)
	here := &sink{}
	if _, err := s.Plug(alice, here); err != nil {
		t.Fatal(err)
	}
	w := plugTrunk(t, s, &sink{}, dave)
	const sent = 20 * floodBurst
	for range sent {
		input(s, w.Input, frameOf(dave, Identity{MAC: all}, 0))
	}
	if lost := int(w.Stats().Dropped["storm"]); lost < sent/2 || lost+here.frames != sent {
		t.Errorf("%d of %d came, %d were dropped", here.frames, sent, lost)
	}
}

func TestTrunkIsTold(t *testing.T) {
	s := newTestSwitch(t)
	a := plug(t, s, alice, unix.SOCK_SEQPACKET)
	out := &log{}
	w := plugTrunk(t, s, out, dave)
	if err := w.Set([]Identity{erin, alice}); !errors.Is(err, ErrTaken) {
		t.Errorf("an address that is here: %v", err)
	}
	if _, err := s.Plug(erin, out); err != nil {
		t.Errorf("a refused list was taken in part: %v", err)
	}
	if _, err := s.Plug(dave, out); !errors.Is(err, ErrTaken) {
		t.Errorf("a refused list lost what was there: %v", err)
	}
	input(s, w.Input, frameOf(dave, alice, 3))
	a.receive()
	if err := w.Set([]Identity{dave, frank}); err != nil {
		t.Fatal(err)
	}
	if got := w.Stats().ReceivedFrames; got != 1 {
		t.Errorf("a machine that stays lost its counts: %d frames", got)
	}
	if err := w.Set([]Identity{frank}); err != nil {
		t.Fatal(err)
	}
	d := plug(t, s, dave, unix.SOCK_SEQPACKET) // it moved here
	a.send(frameOf(alice, dave, 5))
	if got := d.receive(); len(got) != ipMinimum+5 {
		t.Errorf("%d bytes", len(got))
	}
	w.Unplug()
	w.Unplug()
	a.send(frameOf(alice, frank, 5))
	a.send(frameOf(alice, dave, 6))
	d.receive()
	if got := out.last(); len(got) != 0 {
		t.Errorf("%d frames came after the trunk was unplugged", len(got))
	}
	if err := w.Set(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}
