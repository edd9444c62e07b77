package vnet

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ore"
)

func TestAllowedServer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello from the host")
	}))
	defer s.Close()
	to := s.Listener.Addr().(*net.TCPAddr).AddrPort()
	for _, policy := range []ore.Network{ore.NAT, ore.Isolated} {
		for _, from := range []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.1:80")} {
			n := newNet(t, Config{Policy: policy, Allow: []Allowance{{From: from, To: to}}})
			g := newGuest(t, n, "m0")
			if !from.IsValid() {
				from = netip.AddrPortFrom(g.Gateway, to.Port())
			}
			c := g.mustDial(from)
			io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			b, err := io.ReadAll(c)
			if err != nil || !strings.Contains(string(b), "hello from the host") {
				t.Errorf("%s, %v: %q, %v", policy, from, b, err)
			}
			c.Close()
		}
	}
}

// TestRefusals proves for each address that a server which does listen there
// (where one can) is not reached, and that the refusal is a reset.
func TestRefusals(t *testing.T) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	reached := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			reached <- c.LocalAddr().String()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })

	targets := []string{"169.254.169.254", "100.100.100.200", "168.63.129.16", "240.0.0.1"}
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prefixes(list) {
		if !p.Addr().IsLoopback() { // see TestLoopbackIsRefused
			targets = append(targets, p.Addr().String())
		}
	}
	n := newNet(t, natConfig)
	g := newGuest(t, n, "m0")
	targets = append(targets, g.Gateway.String())
	for _, a := range targets {
		begin := time.Now()
		c, err := g.dial(netip.AddrPortFrom(netip.MustParseAddr(a), port))
		if err == nil {
			c.Close()
			t.Errorf("%s is reachable", a)
			continue
		}
		if !isRefused(err) {
			t.Errorf("%s: %v after %v, want a reset", a, err, time.Since(begin))
		}
	}
	select {
	case at := <-reached:
		t.Errorf("the host's server was reached at %s", at)
	default:
	}
	if got := n.Stats().Refused; got < 6 {
		t.Errorf("%d refusals were counted", got)
	}
}

func TestIsolatedRefusesAll(t *testing.T) {
	n := newNet(t, Config{Policy: ore.Isolated})
	g := newGuest(t, n, "m0")
	if _, err := g.dial(netip.MustParseAddrPort("192.0.2.1:80")); !isRefused(err) {
		t.Errorf("got %v", err)
	}
}

func TestRefusedDatagrams(t *testing.T) {
	n := newNet(t, natConfig)
	g := newGuest(t, n, "m0")
	c := g.dialUDP(netip.MustParseAddrPort("169.254.169.254:53"))
	// The stack tells of port unreachable at the next call of write, as Linux does.
	eventually(t, "port unreachable", func() bool {
		_, err := c.Write([]byte("x"))
		return err != nil && strings.Contains(err.Error(), "refused")
	})
}

// TestDatagrams uses an allowance, since no address outside the host is to be
// had in a test.
func TestDatagrams(t *testing.T) {
	s, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		b := make([]byte, 1<<16)
		for {
			size, from, err := s.ReadFrom(b)
			if err != nil {
				return
			}
			s.WriteTo(b[:size], from)
		}
	}()
	from := netip.MustParseAddrPort("192.0.2.7:123")
	n := newNet(t, Config{Allow: []Allowance{{From: from, To: s.LocalAddr().(*net.UDPAddr).AddrPort()}}})
	g := newGuest(t, n, "m0")
	c := g.dialUDP(from)
	// The last is larger than the MTU, so it comes and goes in fragments.
	for _, size := range []int{1, 1400, 8000, 30000} {
		text := strings.Repeat("u", size)
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1<<16)
		got, err := c.Read(b)
		if err != nil || string(b[:got]) != text {
			t.Fatalf("%d bytes: %d came back, %v", size, got, err)
		}
	}
	if s := n.Stats(); s.UDP != 1 || s.UDPOpen != 1 {
		t.Errorf("%d exchanges, %d open", s.UDP, s.UDPOpen)
	}
}

func TestRefusalByDestination(t *testing.T) {
	n := newNet(t, Config{Allow: []Allowance{{From: netip.MustParseAddrPort("192.0.2.1:80"), To: closedPort(t)}}})
	g := newGuest(t, n, "m0")
	if _, err := g.dial(netip.MustParseAddrPort("192.0.2.1:80")); !isRefused(err) {
		t.Errorf("got %v", err)
	}
	if got := n.Stats().Failed; got != 1 {
		t.Errorf("%d failures were counted", got)
	}
}

// closedPort returns an address at which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestResetIsPassedOn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from := netip.MustParseAddrPort("192.0.2.1:80")
	n := newNet(t, Config{Allow: []Allowance{{From: from, To: l.Addr().(*net.TCPAddr).AddrPort()}}})
	g := newGuest(t, n, "m0")
	c := g.mustDial(from)
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.(*net.TCPConn).SetLinger(0)
	s.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("want a reset, got %v", err)
	}
	eventually(t, "the connection is forgotten", func() bool { return n.Stats().TCPOpen == 0 })
}

func TestConnectionLimit(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.1:80")
	n := newNet(t, Config{Allow: []Allowance{{From: from, To: hostEcho(t)}}})
	a, b := newGuest(t, n, "m0"), newGuest(t, n, "m1")
	for range maxTCP { // as if they were open
		if !n.flows.begin(a.IP, tcpFlow) {
			t.Fatal("the limit came early")
		}
	}
	if _, err := a.dial(from); !isRefused(err) {
		t.Errorf("above the limit: %v", err)
	}
	mustEcho(t, b.mustDial(from))
	for range maxTCP {
		n.flows.end(a.IP, tcpFlow)
	}
	mustEcho(t, a.mustDial(from))
	if got := n.Stats().Limited; got != 1 {
		t.Errorf("%d were counted", got)
	}
}

func TestDecide(t *testing.T) {
	n := newNet(t, Config{Policy: ore.NAT, Subnet: netip.MustParsePrefix("10.77.0.0/16")})
	n.policy.host.list = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(198, 51, 100, 9), Mask: net.CIDRMask(24, 32)}}, nil
	}
	for addr, want := range map[string]bool{
		"93.184.216.34:80":    true,
		"192.168.1.1:80":      true, // the host's neighbours are the outside
		"198.51.100.10:80":    true,
		"198.51.100.9:80":     false, // the host
		"198.51.100.255:80":   false, // its link's broadcast address
		"198.51.100.0:80":     false,
		"10.77.3.3:80":        false, // the network itself
		"10.78.3.3:80":        true,
		"127.0.0.1:80":        false,
		"0.0.0.0:80":          false,
		"0.1.2.3:80":          false,
		"169.254.169.254:80":  false,
		"224.0.0.1:80":        false,
		"255.255.255.255:80":  false,
		"192.0.0.192:80":      false,
		"93.184.216.34:0":     false,
		"[::1]:80":            false,
		"[2001:db8::1]:80":    false,
		"[::ffff:1.2.3.4]:80": false,
	} {
		if _, got := n.policy.decide(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestUnknownHostAddressesRefuse(t *testing.T) {
	h := hostAddresses{list: func() ([]net.Addr, error) { return nil, io.ErrUnexpectedEOF }}
	if !h.contains(netip.MustParseAddr("192.0.2.1")) {
		t.Error("an address was let through although the host's own are not known")
	}
}

func TestSubnetAvoidsHost(t *testing.T) {
	used := []netip.Prefix{netip.MustParsePrefix("10.213.0.5/24"), netip.MustParsePrefix("10.214.0.0/16")}
	s, err := chooseSubnet(netip.Prefix{}, used)
	if err != nil || s.prefix.String() != "10.215.0.0/22" {
		t.Errorf("got %v, %v", s.prefix, err)
	}
	if _, err := chooseSubnet(netip.Prefix{}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}); err == nil {
		t.Error("a subnet was found where none is")
	}
}
