package trunk

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

const ethernetSize = 1500 - datagram.Headers4

// TestBadWeather sends frames of all sizes both ways while datagrams are lost,
// doubled, damaged and overtake each other: what comes is whole and comes once,
// and what was not hit comes.
func TestBadWeather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: 5 * time.Millisecond})
		x, y := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Second)
		a.set(func(w *weather) { w.loss, w.double, w.flip, w.jitter = 0.02, 0.1, 0.02, 3*time.Millisecond })
		const sent = 1000
		for i := range uint32(sent) {
			for _, e := range []*end{x, y} {
				if !e.send(i, 14+rand.IntN(15872)) {
					t.Fatalf("frame %d was not taken", i)
				}
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		for _, e := range []*end{x, y} {
			got, s := len(e.frames(t)), e.stats()
			// About six datagrams a frame, of which four in a hundred are hit.
			if got < sent/2 || got == sent {
				t.Errorf("%d of %d frames came", got, sent)
			}
			for _, why := range []reason{corrupt, replayed, incomplete} {
				if s.Dropped[why.String()] == 0 {
					t.Errorf("nothing was counted as %v", why)
				}
			}
			if !s.Up || s.Keys != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestReordering alone loses nothing.
func TestReordering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: time.Millisecond, double: 0.5})
		x, y := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Second)
		a.set(func(w *weather) { w.jitter = 5 * time.Millisecond })
		const sent = 700
		for i := range uint32(sent) {
			x.send(i, 14+rand.IntN(15872))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if got := len(y.frames(t)); got != sent {
			t.Errorf("%d of %d frames came: %v", got, sent, y.stats().Dropped)
		}
	})
}

// TestLostLinkComesBack cuts the link for longer than anything waits.
func TestLostLinkComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: 5 * time.Millisecond})
		x, y := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Second)
		for range 3 {
			a.set(func(w *weather) { w.blocked = true })
			time.Sleep(deadAfter + probeEvery)
			if x.isUp() || y.isUp() || x.send(1, 100) || y.send(1, 100) {
				t.Error("a link is up that was cut")
			}
			time.Sleep(5 * time.Minute)
			a.set(func(w *weather) { w.blocked = false })
			time.Sleep(helloMost + 20*time.Millisecond)
			if !x.isUp() || !y.isUp() {
				t.Fatal("the link did not come back by itself")
			}
		}
		x.send(7, 5000)
		y.send(8, 5000)
		time.Sleep(time.Second)
		if !y.frames(t)[7] || !x.frames(t)[8] {
			t.Error("nothing comes through the link that came back")
		}
		if s := x.stats(); s.Dropped["down"] != 3 || s.Keys != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// TestUDPBlocked falls back to TCP, and goes on with UDP once that passes.
func TestUDPBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: time.Millisecond, blocked: true})
		open := true
		x, y := ends(t, a, ethernetSize, func() bool { return open })
		time.Sleep(udpPatience + helloMost)
		for i := range uint32(100) {
			x.send(i, 15872)
			y.send(i, 15872)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		for _, e := range []*end{x, y} {
			if s := e.stats(); s.Way != datagram.TCP || len(e.frames(t)) != 100 {
				t.Fatalf("%d frames came: %+v", len(e.frames(t)), s)
			}
		}
		time.Sleep(10 * time.Minute)
		if s := x.stats(); s.Way != datagram.TCP || s.Dropped["down"] > 0 {
			t.Errorf("%+v", s)
		}
		// New keys were agreed upon meanwhile, over TCP.
		if s := y.stats(); s.Keys < 5 || s.Keys > 7 {
			t.Errorf("%d times keys in ten minutes", s.Keys)
		}
		a.set(func(w *weather) { w.blocked = false })
		time.Sleep(udpMost + udpTries*helloMost)
		for _, e := range []*end{x, y} {
			if s := e.stats(); s.Way != datagram.UDP || e.tcp != nil && !e.tcp.Ended() {
				t.Errorf("UDP passes again, and is not used: %+v", s)
			}
		}
		// UDP is cut while TCP is not, as by a firewall that was loaded.
		a.set(func(w *weather) { w.blocked = true })
		time.Sleep(deadAfter + udpPatience + helloMost)
		if s := x.stats(); s.Way != datagram.TCP {
			t.Errorf("%+v", s)
		}
		// And then TCP as well.
		open = false
		y.link.mu.Lock()
		y.tcp.Close()
		y.link.mu.Unlock()
		time.Sleep(time.Second)
		if x.isUp() || y.isUp() {
			t.Error("a link is up without a path")
		}
	})
}

// TestSizeIsFound looks for the path's MTU where the interface's is larger, and
// notices when it gets smaller and larger again.
func TestSizeIsFound(t *testing.T) {
	for _, most := range []int{8972, 4000, ethernetSize, 1422, 1372, 1300, datagram.BaseSize, 1000, floorSize} {
		synctest.Test(t, func(t *testing.T) {
			a := newAir(t, weather{delay: 5 * time.Millisecond, most: most})
			x, y := ends(t, a, 8972, nil)
			number := uint32(0)
			carries := func(what string) {
				t.Helper()
				time.Sleep(time.Minute)
				number++
				x.send(number, 15000)
				time.Sleep(time.Second)
				if !y.frames(t)[number] {
					t.Errorf("%s: a path for %d does not carry frames: size %d", what, most, x.udp.Size())
				}
				if n := x.udp.Size(); n > a.now.most || most >= datagram.BaseSize && n < a.now.most-enough {
					t.Errorf("%s: found %d where %d pass", what, n, a.now.most)
				}
			}
			carries("at first")
			a.set(func(w *weather) { w.most = floorSize })
			carries("narrower")
			a.set(func(w *weather) { w.most = most })
			time.Sleep(searchAgain)
			carries("wide again")
			if n := x.stats().Keys; n < 2 {
				t.Errorf("%d keys", n)
			}
		})
	}
}

// TestNewKeys are agreed upon without a frame being lost.
func TestNewKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: 20 * time.Millisecond, jitter: 10 * time.Millisecond})
		x, y := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Second)
		const sent = 1300
		for i := range uint32(sent) {
			x.send(i, 3000)
			y.send(i, 3000)
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(time.Second)
		for _, e := range []*end{x, y} {
			if got, s := len(e.frames(t)), e.stats(); got != sent || s.Keys < 5 || len(s.Dropped) > 0 {
				t.Errorf("%d of %d frames: %+v", got, sent, s)
			}
		}
	})
}

// TestReplays gives both sides all that was ever said, again and in any order.
func TestReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: time.Millisecond})
		a.record(true)
		x, y := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Second)
		for i := range uint32(200) {
			x.send(i, 2000)
			y.send(i, 2000)
			time.Sleep(time.Second) // new keys now and then
		}
		a.record(false)
		before := [2]Stats{x.stats(), y.stats()}
		for side := range 2 {
			for _, i := range rand.Perm(len(a.seen[side])) {
				for to := range 2 {
					a.deliver(to, append([]byte(nil), a.seen[side][i]...))
				}
			}
		}
		time.Sleep(time.Second)
		for i, e := range []*end{x, y} {
			e.frames(t) // fails for any that came twice
			s := e.stats()
			if !s.Up || s.Received.Frames != before[i].Received.Frames || s.Keys != before[i].Keys {
				t.Errorf("before %+v, after %+v", before[i], s)
			}
			if s.Dropped["replayed"] == 0 || s.Dropped["stale"] == 0 {
				t.Errorf("%v", s.Dropped)
			}
		}
		x.send(1000, 2000)
		y.send(1000, 2000)
		time.Sleep(time.Second)
		if !x.frames(t)[1000] || !y.frames(t)[1000] {
			t.Error("the link does not work any more")
		}
	})
}

// TestRoundTrip compares with what the air does.
func TestRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: 30 * time.Millisecond})
		x, _ := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Minute)
		if s := x.stats(); s.RTT != 60*time.Millisecond || s.MinRTT != s.RTT || s.MTU != 1500 {
			t.Errorf("%+v", s)
		}
	})
}

// TestForgedGreetings come from the peer's own address, with a time far ahead:
// they are not answered, and true ones are taken as before.
func TestForgedGreetings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAir(t, weather{delay: time.Millisecond})
		x, y := ends(t, a, ethernetSize, nil)
		time.Sleep(time.Second)
		forged, err := seal.NewSecrets(seal.NewKey()).Greet(1, 1<<62)
		if err != nil {
			t.Fatal(err)
		}
		name := y.secrets.Name()
		copy(forged.Message[4:], name[:])
		a.record(true)
		for range 100 {
			a.deliver(1, append([]byte(nil), forged.Message...))
		}
		time.Sleep(100 * time.Millisecond)
		if n := len(a.seen[1]); n > 1 { // a probe may be due
			t.Errorf("%d datagrams in answer", n)
		}
		a.record(false)
		time.Sleep(5 * time.Minute)
		if s := y.stats(); s.Dropped["corrupt"] != 100 || s.Keys < 3 || !x.isUp() {
			t.Errorf("%+v", s)
		}
	})
}
