package trunk

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"ore/vnet"
	"ore/vnet/ethernet"
	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

// to returns a host's link to another.
func (h *host) to(id string) *link { return h.mesh.member(id).link }

// say seals any bytes as records and sends them, as who has the key and means ill.
func (h *host) say(id string, records []byte) {
	h.t.Helper()
	s := h.to(id).current.Load()
	b := make([]byte, seal.Overhead+len(records))
	copy(b[seal.HeadSize:], records)
	d := b[:s.Seal(b, len(records))]
	if err := s.path.Load().Send(d, len(d)); err != nil {
		h.t.Fatal(err)
	}
}

func wholeFrame(b []byte) []byte {
	r := make([]byte, frameHead, frameHead+len(b))
	putFrame(r, len(b))
	return append(r, b...)
}

func pieceOf(id uint16, total, offset, n int) []byte {
	r := make([]byte, pieceHead+n)
	putPiece(r, record{id: id, total: total, offset: offset}, n)
	return r
}

// TestHostileHost has one host of three do its worst: what the others say to each
// other goes on, and nothing that it made up arrives.
func TestHostileHost(t *testing.T) {
	a, b, c := newHost(t, "a", vnet.Config{}), newHost(t, "b", vnet.Config{}), newHost(t, "c", vnet.Config{})
	m0, m1, m2 := a.machine(0), b.machine(1), c.machine(2)
	meet(t, NewKey(), a, b, c)
	up(t, a, b, c)
	goesOn := func(after string) {
		t.Helper()
		for i, way := range [][2]*machine{{m0, m1}, {m1, m0}} {
			want := frame(way[0], way[1], 5000, byte(i))
			way[0].send(want)
			if got := way[1].receive(); !bytes.Equal(got, want) {
				t.Fatalf("after %s: %x came", after, got[:min(len(got), 40)])
			}
		}
	}
	gateway := &machine{Address: m0.Address}
	gateway.IP, gateway.MAC = m0.Gateway, net.HardwareAddr{2, 0x6f, 10, 9, 8, 1}
	for what, records := range map[string][]byte{
		"a frame in another host's name":  wholeFrame(frame(m1, m0, 100, 1)),
		"a frame in the receiver's name":  wholeFrame(frame(m0, m0, 100, 1)),
		"a frame in the gateway's name":   wholeFrame(frame(gateway, m0, 100, 1)),
		"a frame to the gateway":          wholeFrame(frame(m2, gateway, 100, 1)),
		"a frame for another host":        wholeFrame(frame(m2, m1, 100, 1)),
		"a runt":                          wholeFrame([]byte{1, 2, 3}),
		"a giant":                         wholeFrame(make([]byte, vnet.DefaultMTU+ethernet.Slack+1)),
		"an unknown record":               {0xff, 1, 2, 3},
		"half a record":                   {recordPiece, 1},
		"a piece beyond its frame":        {recordPiece, 0, 1, 0, 20, 0, 19, 0, 2, 1, 1},
		"a piece of a giant":              pieceOf(1, 65535, 0, 10),
		"a frame of two sizes":            append(pieceOf(1, 1000, 0, 10), pieceOf(1, 900, 10, 10)...),
		"a frame with pieces on another":  append(pieceOf(1, 1000, 0, 10), pieceOf(1, 1000, 9, 10)...),
		"an echo that nobody asked for":   record{kind: recordEcho, number: 1, time: -1, size: 65535}.append(nil),
		"a train without end":             record{kind: recordTrain, id: 1, index: 65533, count: 65534}.append(nil),
		"an answer that nobody asked for": record{kind: recordTell, id: 1, bytes: 1 << 31}.append(nil),
	} {
		for range 100 {
			c.say("a", records)
		}
		goesOn(what)
	}
	for i := range 20000 { // never whole, and more to answer than there is room for
		c.say("a", append(pieceOf(uint16(i), 15000, 0, 10), record{kind: recordProbe, number: uint32(i)}.append(nil)...))
	}
	for range 5000 {
		c.say("a", wholeFrame(frame(m2, &machine{Address: vnet.Address{MAC: bytes.Repeat([]byte{0xff}, 6), IP: netip.MustParseAddr("255.255.255.255")}}, 20, 1)))
	}
	c.say("a", wholeFrame(frame(m2, m0, 50, 9)))
	for broadcasts := 0; ; broadcasts++ {
		got := m0.receive()
		if bytes.Equal(got, frame(m2, m0, 50, 9)) {
			break
		}
		if got[0] != 0xff || broadcasts > 4000 {
			t.Fatalf("after %d broadcasts %x came", broadcasts, got[:min(len(got), 40)])
		}
	}
	goesOn("a flood")
	for _, s := range a.mesh.Stats() {
		delete(s.Dropped, "stale")
		switch s.ID {
		case "b":
			if len(s.Dropped) > 0 || s.Keys != 1 {
				t.Errorf("the link to b: %+v", s)
			}
		case "c":
			for _, why := range []string{"malformed", "incomplete", "switch spoofed", "switch unknown", "switch runt", "switch storm"} {
				if s.Dropped[why] == 0 {
					t.Errorf("nothing was dropped as %s: %v", why, s.Dropped)
				}
			}
		}
	}
}

// TestStrangers proves that who has no key is not answered, can hold nothing,
// and disturbs nobody.
func TestStrangers(t *testing.T) {
	a, b := newHost(t, "a", vnet.Config{}), newHost(t, "b", vnet.Config{})
	m0, m1 := a.machine(0), b.machine(1)
	job := NewKey()
	meet(t, job, a, b)
	up(t, a, b)
	u, err := net.Dial("udp4", b.mesh.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	known, err := seal.NewSecrets(PairKey(job, "a", "b")).Greet(1, 1) // old, though made with the key
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := seal.NewSecrets(NewKey()).Greet(1, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(wrong.Message)
	copy(forged[4:], known.Message[4:12])
	for range 1000 {
		for _, d := range [][]byte{{}, {1}, bytes.Repeat([]byte{3}, 1000), wrong.Message, forged} {
			if _, err := u.Write(d); err != nil && !errors.Is(err, io.EOF) {
				break // the kernel has no room: as good
			}
		}
	}
	var conns []net.Conn
	for i := range 3 * maxStrangers {
		c, err := net.Dial("tcp4", b.mesh.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		switch i % 4 {
		case 0: // says nothing
		case 1:
			c.Write(append([]byte{0, seal.HelloSize}, forged...))
		case 2:
			c.Write(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 20))
		case 3:
			c.Write([]byte{0, seal.HelloSize, 1})
		}
	}
	for i, c := range conns {
		c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, net.ErrClosed) {
			t.Errorf("stranger %d was answered: %d bytes, %v", i, n, err)
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("stranger %d is still connected", i)
		}
	}
	u.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := u.Read(make([]byte, 100)); err == nil {
		t.Errorf("a stranger was answered with %d bytes", n)
	}
	want := frame(m0, m1, 9000, 1)
	m0.send(want)
	if got := m1.receive(); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came", len(got))
	}
	if s := b.mesh.Stats()[0]; !s.Up || s.Keys != 1 {
		t.Errorf("%+v", s)
	}
}

// TestWrongKey proves that hosts with different keys never have a link.
func TestWrongKey(t *testing.T) {
	a, b := newHost(t, "a", vnet.Config{}), newHost(t, "b", vnet.Config{})
	if err := a.mesh.Set(others(NewKey(), a, []*host{a, b})); err != nil {
		t.Fatal(err)
	}
	right := NewKey()
	if err := b.mesh.Set(others(right, b, []*host{a, b})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has been greeted with the wrong key", func() bool { return b.mesh.Stats()[0].Dropped["corrupt"] > 2 })
	if a.mesh.Stats()[0].Up || b.mesh.Stats()[0].Up {
		t.Error("there is a link")
	}
	if err := a.mesh.Set(others(right, a, []*host{a, b})); err != nil {
		t.Fatal(err)
	}
	up(t, a, b)
}

// TestRealStream has no UDP, as where a firewall takes it.
func TestRealStream(t *testing.T) {
	a, b := newHost(t, "a", vnet.Config{}), newHost(t, "b", vnet.Config{})
	m0, m1 := a.machine(0), b.machine(1)
	meet(t, NewKey(), a, b)
	a.to("b").udp.Close()
	b.to("a").udp.Close()
	eventually(t, "the link is up over TCP", func() bool {
		return a.mesh.Stats()[0].Way == datagram.TCP && b.mesh.Stats()[0].Way == datagram.TCP
	})
	for i := range 50 {
		want := frame(m0, m1, 20+i*300, byte(i))
		m0.send(want)
		if got := m1.receive(); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes came as %d", len(want), len(got))
		}
	}
	if err := a.mesh.Measure(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	if s := a.mesh.Stats()[0]; s.MTU != 0 || s.Rate == 0 || s.RTT == 0 {
		t.Errorf("%+v", s)
	}
}

// TestHostsComeAndGo changes what a mesh is told.
func TestHostsComeAndGo(t *testing.T) {
	job := NewKey()
	a, b, c := newHost(t, "a", vnet.Config{}), newHost(t, "b", vnet.Config{}), newHost(t, "c", vnet.Config{})
	m0, m1, _ := a.machine(0), b.machine(1), c.machine(2)
	meet(t, job, a, b, c)
	up(t, a, b, c)
	// c is lost, and its machine starts again on b.
	if err := c.mesh.Close(); err != nil {
		t.Error(err)
	}
	if err := c.mesh.Close(); err != nil {
		t.Error(err)
	}
	if err := c.mesh.Set(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := b.mesh.Set(others(job, b, []*host{a, b})); err != nil {
		t.Fatal(err)
	}
	m2 := b.machine(2)
	if err := a.mesh.Set(others(job, a, []*host{a, b})); err != nil {
		t.Fatal(err)
	}
	for _, to := range []*machine{m1, m2} {
		want := frame(m0, to, 3000, 1)
		m0.send(want)
		if got := to.receive(); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came", len(got))
		}
	}
	if got := a.mesh.Stats(); len(got) != 1 || got[0].Keys != 1 {
		t.Errorf("a link that stayed was made again: %+v", got)
	}
	if err := a.mesh.Measure(t.Context(), "c"); !errors.Is(err, ErrNoPeer) {
		t.Errorf("got %v", err)
	}
}

func TestPeersAreChecked(t *testing.T) {
	a := newHost(t, "a", vnet.Config{})
	good := Peer{ID: "b", Key: NewKey(), Address: netip.MustParseAddrPort("127.0.0.1:9")}
	with := func(f func(p *Peer)) Peer { p := good; f(&p); return p }
	for what, peers := range map[string][]Peer{
		"itself": {with(func(p *Peer) { p.ID = "a" })}, "no name": {with(func(p *Peer) { p.ID = "" })}, "one twice": {good, good},
		"no address": {with(func(p *Peer) { p.Address = netip.AddrPort{} })}, "no port": {with(func(p *Peer) { p.Address = netip.MustParseAddrPort("127.0.0.1:0") })},
		"any address": {with(func(p *Peer) { p.Address = netip.MustParseAddrPort("0.0.0.0:9") })}, "IPv6": {with(func(p *Peer) { p.Address = netip.MustParseAddrPort("[::1]:9") })},
		"no key":                         {with(func(p *Peer) { p.Key = Key{} })},
		"a machine of no such subnet":    {with(func(p *Peer) { p.Machines = []vnet.Remote{{Name: "m1", IP: netip.MustParseAddr("10.1.1.1")}} })},
		"a machine with a name too many": {with(func(p *Peer) { p.Machines = []vnet.Remote{{Name: "gateway", IP: netip.MustParseAddr("10.9.8.7")}} })},
	} {
		if err := a.mesh.Set(peers); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if err := a.mesh.Set([]Peer{good}); err != nil {
		t.Errorf("after all these: %v", err)
	}
	for _, bad := range []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.1:0")} {
		if m, err := New(Config{Network: a.net, ID: "x", Listen: bad}); err == nil {
			m.Close()
			t.Errorf("a mesh listens at %v", bad)
		}
	}
}
