package vnet

import (
	"bytes"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"ore"
	"ore/vnet/ethernet"
)

// wire is an outlet that gives what it gets to another network's trunk.
type wire struct {
	to     atomic.Pointer[Trunk]
	pool   *ethernet.Pool // of the network that to belongs to
	frames atomic.Uint64
	keep   func(b []byte) // sees each frame, if not nil
}

func (w *wire) Deliver(f *ethernet.Frame) bool {
	defer f.Release()
	w.frames.Add(1)
	if w.keep != nil {
		w.keep(f.Bytes())
	}
	if to := w.to.Load(); to != nil {
		c := w.pool.Get(len(f.Bytes()))
		copy(c.Bytes(), f.Bytes())
		to.Input(c)
	}
	return true
}

var spanned = netip.MustParsePrefix("10.9.8.0/24")

// join makes a trunk between two networks, without a link in between.
func join(t testing.TB, a, b *Network) (ta, tb *Trunk, ab, ba *wire) {
	t.Helper()
	ab, ba = &wire{pool: b.Pool()}, &wire{pool: a.Pool()}
	var err error
	if ta, err = a.PlugTrunk(ab); err != nil {
		t.Fatal(err)
	}
	if tb, err = b.PlugTrunk(ba); err != nil {
		t.Fatal(err)
	}
	ab.to.Store(tb)
	ba.to.Store(ta)
	return ta, tb, ab, ba
}

func remote(name string, rank int) Remote {
	ip, err := AddressOf(spanned, rank)
	if err != nil {
		panic(err)
	}
	return Remote{Name: name, IP: ip}
}

func set(t testing.TB, k *Trunk, machines ...Remote) {
	t.Helper()
	if err := k.Set(machines); err != nil {
		t.Fatal(err)
	}
}

func TestMachinesOfTwoHosts(t *testing.T) {
	c := Config{Subnet: spanned, Policy: ore.NAT}
	n1, n2 := newNet(t, c), newNet(t, c)
	a, b := newGuestAt(t, n1, "m0", 0), newGuestAt(t, n2, "m1", 1)
	t1, t2, _, _ := join(t, n1, n2)
	set(t, t1, remote("m1", 1))
	set(t, t2, remote("m0", 0))
	if b.IP.String() != "10.9.8.3" {
		t.Errorf("m1 has %v", b.IP)
	}
	echo(t, b.listen(7))
	mustEcho(t, a.mustDial(netip.AddrPortFrom(b.IP, 7)))
	// Each host's DNS knows all.
	if ip := a.lookUp(t, "m1"); ip != b.IP {
		t.Errorf("m1 is %v for m0, want %v", ip, b.IP)
	}
	// Each gateway serves its own machines, and they reach the outside by it.
	echo(t, a.listen(22))
	conn, err := n1.DialContext(t.Context(), "m0", 22)
	if err != nil {
		t.Fatal(err)
	}
	mustEcho(t, conn)
	if _, err := n1.DialContext(t.Context(), "m1", 7); !errors.Is(err, ErrNoSuch) {
		t.Errorf("a machine of another host was dialled from here: %v", err)
	}
	if s := t1.Stats(); s.ReceivedFrames == 0 || s.SentFrames == 0 || len(s.Dropped) > 0 {
		t.Errorf("the trunk counted %+v", s)
	}
}

// TestGatewaysAreApart proves that another host cannot use our gateway, and that
// ours does not speak to its machines.
func TestGatewaysAreApart(t *testing.T) {
	n := newNet(t, Config{Subnet: spanned, Policy: ore.NAT})
	var seen [][]byte
	w := &wire{keep: func(b []byte) { seen = append(seen, bytes.Clone(b)) }}
	k, err := n.PlugTrunk(w)
	if err != nil {
		t.Fatal(err)
	}
	far := remote("m1", 1)
	set(t, k, far)
	id, gateway := identity(far.IP), identity(n.Gateway())
	input := func(b []byte) {
		f := n.Pool().Get(len(b))
		copy(f.Bytes(), b)
		k.Input(f)
	}
	input(ipFrame(id, gateway, 100))
	ask := make([]byte, 42)
	copy(ask, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(ask[6:], id.MAC[:])
	copy(ask[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1})
	copy(ask[22:], id.MAC[:])
	copy(ask[28:], id.IP[:])
	copy(ask[38:], gateway.IP[:])
	input(ask)
	// Out of our gateway: a frame to the far machine, and one to all.
	for _, dst := range []ethernet.MAC{id.MAC, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		b := ipFrame(gateway, ethernet.Identity{MAC: dst, IP: id.IP}, 50)
		f := n.Pool().Get(len(b))
		copy(f.Bytes(), b)
		n.gateway.port.Input(f)
	}
	if got := n.Stats().Gateway.SentFrames; got != 0 {
		t.Errorf("the gateway got %d frames from another host", got)
	}
	if len(seen) != 0 {
		t.Errorf("%d frames went from the gateway to another host: %x", len(seen), seen)
	}
	if got := k.Stats().Dropped["unknown"]; got != 2 {
		t.Errorf("%d frames dropped as unknown, want 2", got)
	}
}

// TestWhoIsElsewhere proves what a trunk may be told.
func TestWhoIsElsewhere(t *testing.T) {
	n := newNet(t, Config{Subnet: spanned})
	newGuestAt(t, n, "m0", 0)
	w1, w2 := &wire{}, &wire{}
	k1, err := n.PlugTrunk(w1)
	if err != nil {
		t.Fatal(err)
	}
	k2, err := n.PlugTrunk(w2)
	if err != nil {
		t.Fatal(err)
	}
	set(t, k1, remote("m1", 1), remote("m2", 2))
	for name, bad := range map[string]Remote{
		"a name that is here": remote("m0", 5), "an address that is here": remote("m9", 0),
		"a name behind another trunk": remote("m1", 6), "an address behind another trunk": remote("m8", 2),
		"the gateway": {Name: "m7", IP: n.Gateway()}, "another subnet": {Name: "m7", IP: netip.MustParseAddr("10.1.1.1")},
		"all": {Name: "m7", IP: netip.MustParseAddr("10.9.8.255")}, "a bad name": {Name: "M7", IP: remote("", 7).IP}, "no address": {Name: "m7"},
	} {
		if err := k2.Set([]Remote{remote("m3", 3), bad}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, ok := n.names.address("m3"); ok {
		t.Error("a refused list was taken in part")
	}
	if _, _, err := n.AttachAt("m1", 1); !errors.Is(err, ErrElsewhere) {
		t.Errorf("a machine that is elsewhere: %v", err)
	}
	if _, _, err := n.AttachAt("m6", 2); !errors.Is(err, ethernet.ErrTaken) {
		t.Errorf("an address that is elsewhere: %v", err)
	}
	if _, _, err := n.AttachAt("m6", 300); !errors.Is(err, ErrCrowded) {
		t.Errorf("a rank that the subnet does not hold: %v", err)
	}
	// A machine that is started again on another host moves there, or here.
	set(t, k1, remote("m2", 2))
	set(t, k2, remote("m1", 1))
	k2.Unplug()
	f, a, err := n.AttachAt("m1", 1)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if a.IP != remote("m1", 1).IP {
		t.Errorf("m1 came back as %v", a.IP)
	}
	// An address that is fixed is given to nobody else.
	f, a, err = n.Attach("x")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if name, _ := n.Machine(a.IP); name != "x" || a.IP == remote("m2", 2).IP {
		t.Errorf("x has %v", a.IP)
	}
}

func (g *guest) lookUp(t *testing.T, name string) netip.Addr {
	t.Helper()
	c := g.dialUDP(netip.AddrPortFrom(g.DNS, dnsPort))
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, maxQuestion)
	size, err := c.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(answer[:size]); err != nil || len(m.Answers) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	return netip.AddrFrom4(m.Answers[0].Body.(*dnsmessage.AResource).A)
}
