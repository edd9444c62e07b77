package vnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"ore"
	"ore/vnet/ethernet"
)

func TestMachinesReachEachOther(t *testing.T) {
	n := newNet(t, Config{})
	a, b := newGuest(t, n, "m0"), newGuest(t, n, "m1")
	echo(t, b.listen(7))
	mustEcho(t, a.mustDial(netip.AddrPortFrom(b.IP, 7)))
}

func TestMachineReachesListener(t *testing.T) {
	n := newNet(t, Config{})
	g := newGuest(t, n, "m0")
	l, err := n.Listen(8000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	names := make(chan string, 1)
	go func() {
		defer close(names)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		name, _ := n.Machine(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		names <- name
		io.Copy(c, c)
	}()
	mustEcho(t, g.mustDial(netip.AddrPortFrom(g.Gateway, 8000)))
	if got := <-names; got != "m0" {
		t.Errorf("the connection came from %q", got)
	}
}

func TestListenerWakesOnClose(t *testing.T) {
	n := newNet(t, Config{})
	l, err := n.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	l.Close()
	if err := <-ended; err == nil {
		t.Error("Accept returned a connection")
	}
}

func TestDialMachine(t *testing.T) {
	n := newNet(t, Config{})
	g := newGuest(t, n, "m0")
	echo(t, g.listen(22))
	c, err := n.DialContext(t.Context(), "m0", 22)
	if err != nil {
		t.Fatal(err)
	}
	mustEcho(t, c)

	if _, err := n.DialContext(t.Context(), "m0", 23); !isRefused(err) {
		t.Errorf("a closed port: %v", err)
	}
	if _, err := n.DialContext(t.Context(), "m1", 22); !errors.Is(err, ErrNoSuch) {
		t.Errorf("an unknown machine: %v", err)
	}
}

func TestDialFrozenMachineObeysContext(t *testing.T) {
	n := newNet(t, Config{})
	f, _, err := n.Attach("m0") // nobody reads it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.DialContext(ctx, "m0", 22); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// loopback listens where only this host connects.
func loopback(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.(*net.TCPListener)
}

func TestPublish(t *testing.T) {
	n := newNet(t, Config{})
	g := newGuest(t, n, "m0")
	echo(t, g.listen(80))
	p, err := n.Publish(loopback(t), "m0", 80)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	mustEcho(t, c)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", p.Addr().String()); err == nil {
		c.Close()
		t.Error("the port is open after Close")
	}
}

// A machine sees who comes to a published port if it could connect there itself:
// never the host, and nobody where the network is isolated.
func TestPublishedSource(t *testing.T) {
	stranger := netip.MustParseAddr("203.0.113.7") // RFC 5737
	for _, c := range []struct {
		policy ore.Network
		from   netip.Addr
		own    bool
	}{
		{ore.NAT, stranger, true}, {ore.Isolated, stranger, false},
		{ore.NAT, netip.MustParseAddr("127.0.0.1"), false}, {ore.NAT, netip.MustParseAddr("2001:db8::1"), false},
	} {
		n := newNet(t, Config{Policy: c.policy})
		g := newGuest(t, n, "m0")
		l := g.listen(80)
		seen := n.seenAs(&net.TCPAddr{IP: c.from.AsSlice(), Port: 1})
		if seen != c.from == c.own {
			t.Errorf("%s, from %v: seen as %v", c.policy, c.from, seen)
		}
		out, err := n.dialIn(t.Context(), "m0", 80, seen)
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if host, _, _ := net.SplitHostPort(in.RemoteAddr().String()); host != seen.String() {
			t.Errorf("%s, from %v: the machine sees %v, not %v", c.policy, c.from, host, seen)
		}
		go func() { // the guest's side answers, and is closed by it
			io.Copy(in, in)
			in.Close()
		}()
		mustEcho(t, out)
	}
}

func TestPublishedPortWithoutServer(t *testing.T) {
	n := newNet(t, Config{})
	newGuest(t, n, "m0")
	p, err := n.Publish(loopback(t), "m0", 80)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr().String())
	if err == nil { // else the reset came before connect(2) returned
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("want a reset, got %v", err)
	}
}

func TestAddresses(t *testing.T) {
	n := newNet(t, Config{Subnet: netip.MustParsePrefix("10.9.8.0/29"), Machines: 2, MTU: 1500})
	f, a, err := n.Attach("m0")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, want := a.Prefix.String(), "10.9.8.2/29"; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
	if a.Gateway.String() != "10.9.8.1" || a.DNS != a.Gateway || a.MTU != 1500 || a.MAC.String() != "02:6f:0a:09:08:02" {
		t.Errorf("got %+v", a)
	}
	if _, _, err := n.Attach("m0"); !errors.Is(err, ErrAttached) {
		t.Errorf("a second m0: %v", err)
	}
	for _, bad := range []string{"", "M0", "a.b", "-a", "a-", "gateway", "localhost", "ä"} {
		if _, _, err := n.Attach(bad); err == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
	g, b, err := n.Attach("m1")
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	if _, _, err := n.Attach("m2"); !errors.Is(err, ErrCrowded) {
		t.Errorf("a third machine: %v", err)
	}
	n.Detach("m0")
	n.Detach("m0")
	h, c, err := n.Attach("m2")
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	n.Detach("m1")
	k, again, err := n.Attach("m1")
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	if again.IP != b.IP || c.IP == a.IP || c.IP == b.IP {
		t.Errorf("m0 %v, m1 %v and again %v, m2 %v", a.IP, b.IP, again.IP, c.IP)
	}
}

func TestAddressesAreReused(t *testing.T) {
	n := newNet(t, Config{Subnet: netip.MustParsePrefix("10.9.8.0/30")})
	for _, name := range []string{"m0", "m1", "m0"} {
		f, a, err := n.Attach(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if a.IP.String() != "10.9.8.2" {
			t.Errorf("%s has %v", name, a.IP)
		}
		if got, _ := n.Machine(a.IP); got != name {
			t.Errorf("%v is %q", a.IP, got)
		}
		n.Detach(name)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{
		"subnet too small": {Subnet: netip.MustParsePrefix("10.0.0.0/31")},
		"subnet IPv6":      {Subnet: netip.MustParsePrefix("fd00::/64")},
		"mtu":              {MTU: 100},
		"policy":           {Policy: "open"},
		"allow":            {Allow: []Allowance{{To: netip.MustParseAddrPort("127.0.0.1:0")}}},
		"allow over dns":   {Allow: []Allowance{{To: netip.MustParseAddrPort("127.0.0.1:53")}}},
	} {
		if n, err := New(c); err == nil {
			n.Close()
			t.Errorf("%s was taken", name)
		}
	}
}

func TestNetworksAreApart(t *testing.T) {
	t.Parallel() // it waits until a machine gives up on an address
	c := Config{Subnet: netip.MustParsePrefix("10.9.8.0/24"), Policy: ore.NAT}
	n1, n2 := newNet(t, c), newNet(t, c)
	a, b := newGuest(t, n1, "m0"), newGuest(t, n2, "m0")
	newGuest(t, n1, "m1")
	c1, c2 := newGuest(t, n2, "m1"), newGuest(t, n2, "m2")
	echo(t, c2.listen(7))
	mustEcho(t, c1.mustDial(netip.AddrPortFrom(c2.IP, 7)))
	// The same address exists only in the other network.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := n1.DialContext(ctx, "m2", 7); !errors.Is(err, ErrNoSuch) {
		t.Errorf("dial into the other network: %v", err)
	}
	if conn, err := a.dial(netip.AddrPortFrom(c2.IP, 7)); err == nil {
		conn.Close()
		t.Error("a machine reached another network")
	}
	if got := n1.Stats().Ports["m0"].Dropped["unknown"]; got == 0 {
		t.Error("the question for the other network's address went somewhere")
	}
	if a.IP != b.IP {
		t.Errorf("the test wants equal addresses, got %v and %v", a.IP, b.IP)
	}
}

func TestCloseEndsConnections(t *testing.T) {
	n := newNet(t, Config{Policy: ore.NAT})
	g := newGuest(t, n, "m0")
	echo(t, g.listen(7))
	c, err := n.DialContext(t.Context(), "m0", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ended := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("reading goes on after Close")
	}
	if _, _, err := n.Attach("m1"); !errors.Is(err, ErrClosed) {
		t.Errorf("attach: %v", err)
	}
	if _, err := n.DialContext(t.Context(), "m0", 7); !errors.Is(err, ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if _, err := n.Listen(1); err == nil {
		t.Error("listen works after Close")
	}
	if _, err := n.Publish(loopback(t), "m0", 1); !errors.Is(err, ErrClosed) {
		t.Errorf("publish: %v", err)
	}
}

func TestDetachEndsConnections(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.1:80")
	n := newNet(t, Config{Allow: []Allowance{{From: from, To: hostEcho(t)}}})
	g, other := newGuest(t, n, "m0"), newGuest(t, n, "m1")
	echo(t, g.listen(7))
	echo(t, other.listen(7))
	defer g.mustDial(from).Close()
	into, err := n.DialContext(t.Context(), "m0", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer into.Close()
	kept, err := n.DialContext(t.Context(), "m1", 7)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is open", func() bool { return n.Stats().TCPOpen == 1 })
	n.Detach("m0")
	into.SetDeadline(time.Now().Add(patience))
	var late net.Error
	if _, err := into.Read(make([]byte, 1)); err == nil || errors.As(err, &late) && late.Timeout() {
		t.Errorf("reading from a detached machine: %v", err)
	}
	eventually(t, "the outer connection is closed", func() bool { return n.Stats().TCPOpen == 0 })
	mustEcho(t, kept)
}

// TestImpair proves that what machines see is what was asked for: a round trip
// over an impaired machine takes the latency twice, and losses are made good.
func TestImpair(t *testing.T) {
	n := newNet(t, Config{})
	a, b := newGuest(t, n, "m0"), newGuest(t, n, "m1")
	echo(t, b.listen(7))
	const latency = 20 * time.Millisecond
	if err := n.Impair("m1", ethernet.Impairment{Latency: latency}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c := a.mustDial(netip.AddrPortFrom(b.IP, 7))
	if took := time.Since(begin); took < 2*latency {
		t.Errorf("connecting took %v, less than twice %v", took, latency)
	}
	mustEcho(t, c)
	if err := n.Impair("m1", ethernet.Impairment{Loss: 0.05, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	c = a.mustDial(netip.AddrPortFrom(b.IP, 7))
	defer c.Close()
	text := strings.Repeat("0123456789abcdef", 1<<16)
	go func() {
		io.WriteString(c, text)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || string(got) != text {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(text), err)
	}
	if n.Stats().Ports["m1"].Dropped["lost"] == 0 {
		t.Error("nothing was lost")
	}
	if err := n.Impair("m9", ethernet.Impairment{}); !errors.Is(err, ErrNoSuch) {
		t.Errorf("an unknown machine: %v", err)
	}
}

// TestFrozenMachine proves that a machine that reads nothing delays neither the
// gateway nor other machines.
func TestFrozenMachine(t *testing.T) {
	n := newNet(t, Config{})
	a, b := newGuest(t, n, "m0"), newGuest(t, n, "m1")
	frozen := newRawGuest(t, n, "m2")
	echo(t, b.listen(7))
	u := a.dialUDP(netip.AddrPortFrom(frozen.IP, 9))
	a.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, tcpip.AddrFrom4(frozen.IP.As4()), tcpip.LinkAddress(frozen.MAC))
	for range 5000 {
		u.Write(make([]byte, 8000))
	}
	mustEcho(t, a.mustDial(netip.AddrPortFrom(b.IP, 7)))
	if got := show(t, a.ask(question(t, "m2.", dnsmessage.TypeA, false), "udp")); got != "Success "+frozen.IP.String() {
		t.Errorf("the gateway says %s", got)
	}
	if got := n.Stats().Ports["m2"].Dropped["full"]; got == 0 {
		t.Error("the frozen machine's queue was never full")
	}
}
