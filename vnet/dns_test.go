package vnet

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"ore"
)

// question returns a DNS question as a guest's resolver sends it.
func question(t testing.TB, name string, kind dnsmessage.Type, edns bool) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	if edns {
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(ednsSize, dnsmessage.RCodeSuccess, false); err != nil {
			t.Fatal(err)
		}
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// show writes an answer in one line.
func show(t testing.TB, b []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatalf("answer %x: %v", b, err)
	}
	if m.ID != 4711 || !m.Response {
		t.Errorf("answer with id %d, response %v", m.ID, m.Response)
	}
	s := strings.TrimPrefix(m.RCode.String(), "RCode")
	for _, a := range m.Answers {
		switch r := a.Body.(type) {
		case *dnsmessage.AResource:
			s += " " + netip.AddrFrom4(r.A).String()
		case *dnsmessage.PTRResource:
			s += " " + r.PTR.String()
		}
	}
	if len(m.Additionals) > 0 {
		s += " edns"
	}
	return s
}

// ask sends a question from a machine to the gateway.
func (g *guest) ask(msg []byte, network string) []byte {
	g.t.Helper()
	at := netip.AddrPortFrom(g.DNS, dnsPort)
	if network == "udp" {
		c := g.dialUDP(at)
		if _, err := c.Write(msg); err != nil {
			g.t.Fatal(err)
		}
		b := make([]byte, maxAnswer)
		n, err := c.Read(b)
		if err != nil {
			g.t.Fatal(err)
		}
		return b[:n]
	}
	c := g.mustDial(at)
	defer c.Close()
	if err := writeMessage(c, msg); err != nil {
		g.t.Fatal(err)
	}
	b, err := readMessage(c, maxAnswer)
	if err != nil {
		g.t.Fatal(err)
	}
	return b
}

func TestNames(t *testing.T) {
	n := newNet(t, Config{Subnet: netip.MustParsePrefix("10.9.8.0/24"), Domain: "Blast.Example."})
	g := newGuest(t, n, "m0")
	newGuest(t, n, "m1")
	for _, c := range []struct {
		name string
		kind dnsmessage.Type
		edns bool
		want string
	}{
		{"m0.", dnsmessage.TypeA, false, "Success 10.9.8.2"},
		{"m1.", dnsmessage.TypeA, true, "Success 10.9.8.3 edns"},
		{"M1.", dnsmessage.TypeA, false, "Success 10.9.8.3"},
		{"m1.blast.example.", dnsmessage.TypeA, false, "Success 10.9.8.3"},
		{"m1.BLAST.example.", dnsmessage.TypeALL, false, "Success 10.9.8.3"},
		{"gateway.", dnsmessage.TypeA, false, "Success 10.9.8.1"},
		{"m1.", dnsmessage.TypeAAAA, false, "Success"},
		{"blast.example.", dnsmessage.TypeA, false, "Success"},
		{"m2.", dnsmessage.TypeA, false, "NameError"},
		{"a.m1.blast.example.", dnsmessage.TypeA, false, "NameError"},
		{"localhost.", dnsmessage.TypeA, false, "NameError"},
		{"3.8.9.10.in-addr.arpa.", dnsmessage.TypePTR, false, "Success m1.blast.example."},
		{"1.8.9.10.in-addr.arpa.", dnsmessage.TypePTR, false, "Success gateway.blast.example."},
		{"9.8.9.10.in-addr.arpa.", dnsmessage.TypePTR, false, "NameError"},
		{"9.9.9.9.in-addr.arpa.", dnsmessage.TypePTR, false, "Refused"},
		{"www.example.org.", dnsmessage.TypeA, false, "Refused"},
		{".", dnsmessage.TypeNS, false, "NameError"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := show(t, g.ask(question(t, c.name, c.kind, c.edns), network)); got != c.want {
				t.Errorf("%s %v over %s: %s, want %s", c.name, c.kind, network, got, c.want)
			}
		}
	}
}

// resolver is a DNS server of the host that answers with say's result.
func resolver(t *testing.T, say func(question []byte, network string) [][]byte) netip.AddrPort {
	t.Helper()
	var u net.PacketConn
	var l net.Listener
	var at netip.AddrPort
	for l == nil { // somebody else may have the port of the same number for TCP
		var err error
		if u, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		at = u.LocalAddr().(*net.UDPAddr).AddrPort()
		if l, err = net.Listen("tcp", at.String()); err != nil {
			u.Close()
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatal(err)
			}
		}
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		b := make([]byte, maxQuestion)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			for _, a := range say(b[:n], "udp") {
				u.WriteTo(a, from)
			}
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if msg, err := readMessage(c, maxQuestion); err == nil {
				for _, a := range say(msg, "tcp") {
					writeMessage(c, a)
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() { u.Close(); l.Close(); <-done; <-done })
	return at
}

// answerA returns an answer with one address.
func answerA(t *testing.T, msg []byte, a [4]byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil {
		t.Error(err)
		return nil
	}
	m.Response, m.Additionals = true, nil
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		Body:   &dnsmessage.AResource{A: a},
	}}
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestForwardedNames(t *testing.T) {
	at := resolver(t, func(q []byte, network string) [][]byte {
		if id := binary.BigEndian.Uint16(q); id == 4711 {
			t.Errorf("the question was passed on over %s under the guest's own id", network)
		}
		// First come answers that must not be believed.
		wrongID := answerA(t, q, [4]byte{6, 6, 6, 6})
		wrongID[0] ^= 0xff
		wrongName := append([]byte(nil), q...)
		wrongName[dnsHeader+1] ^= 1
		forged := answerA(t, wrongName, [4]byte{6, 6, 6, 6})
		good := answerA(t, q, [4]byte{192, 0, 2, 80})
		if network == "tcp" {
			return [][]byte{good}
		}
		return [][]byte{{}, {1, 2, 3}, wrongID, forged, q, good}
	})
	n := newNet(t, Config{Policy: ore.NAT, Resolvers: []netip.AddrPort{at}})
	g := newGuest(t, n, "m0")
	for _, network := range []string{"udp", "tcp"} {
		if got := show(t, g.ask(question(t, "www.example.org.", dnsmessage.TypeA, true), network)); got != "Success 192.0.2.80" {
			t.Errorf("over %s: %s", network, got)
		}
	}
	if got := show(t, g.ask(question(t, "m9.", dnsmessage.TypeA, true), "udp")); got != "NameError edns" {
		t.Errorf("a name without a dot: %s", got)
	}
}

func TestNextResolverIsAsked(t *testing.T) {
	good := resolver(t, func(q []byte, _ string) [][]byte { return [][]byte{answerA(t, q, [4]byte{192, 0, 2, 1})} })
	n := newNet(t, Config{Policy: ore.NAT, Resolvers: []netip.AddrPort{closedPort(t), good}})
	g := newGuest(t, n, "m0")
	if got := show(t, g.ask(question(t, "a.example.org.", dnsmessage.TypeA, false), "udp")); got != "Success 192.0.2.1" {
		t.Errorf("got %s", got)
	}
}

func TestNoResolver(t *testing.T) {
	n := newNet(t, Config{Policy: ore.NAT, Resolvers: []netip.AddrPort{closedPort(t)}})
	g := newGuest(t, n, "m0")
	if got := show(t, g.ask(question(t, "a.example.org.", dnsmessage.TypeA, false), "udp")); got != "ServerFailure" {
		t.Errorf("got %s", got)
	}
}

func TestQueryLimit(t *testing.T) {
	n := newNet(t, Config{Policy: ore.NAT, Resolvers: []netip.AddrPort{closedPort(t)}})
	g := newGuest(t, n, "m0")
	for range maxQueries {
		n.flows.begin(g.IP, queryFlow)
	}
	defer func() {
		for range maxQueries {
			n.flows.end(g.IP, queryFlow)
		}
	}()
	if got := show(t, g.ask(question(t, "a.example.org.", dnsmessage.TypeA, false), "udp")); got != "ServerFailure" {
		t.Errorf("got %s", got)
	}
	if got := n.Stats().Limited; got != 1 {
		t.Errorf("%d were counted", got)
	}
}

// TestManyDNSConnections proves that connections without questions do not keep
// others from asking over UDP.
func TestManyDNSConnections(t *testing.T) {
	n := newNet(t, Config{})
	g := newGuest(t, n, "m0")
	at := netip.AddrPortFrom(g.DNS, dnsPort)
	for range maxDNSConns {
		defer g.mustDial(at).Close()
	}
	c := g.mustDial(at)
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one too many: %v", err)
	}
	if got := show(t, g.ask(question(t, "m0.", dnsmessage.TypeA, false), "udp")); !strings.HasPrefix(got, "Success ") {
		t.Errorf("over UDP: %s", got)
	}
}

func TestParseResolvers(t *testing.T) {
	const conf = "# comment\nsearch example.org\nnameserver 192.0.2.1\n nameserver  2001:db8::1 \nnameserver\nnameserver x\noptions a\nnameserver 127.0.0.53\nnameserver 192.0.2.9\n"
	got := parseResolvers(strings.NewReader(conf))
	want := []string{"192.0.2.1:53", "[2001:db8::1]:53", "127.0.0.53:53"}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i].String() != want[i] {
			t.Errorf("got %v, want %s", got[i], want[i])
		}
	}
}

// FuzzAnswer feeds questions to the server: it must not fall over, must not
// answer answers, and what it says must be an answer under the same id.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"m0.", "m0.ore.internal.", "2.0.213.10.in-addr.arpa.", "www.example.org.", "."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypePTR, dnsmessage.TypeALL} {
			f.Add(question(f, name, kind, true))
		}
	}
	f.Add([]byte{})
	f.Add(make([]byte, dnsHeader))
	s, err := chooseSubnet(netip.Prefix{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	n := &Network{subnet: s, names: newNames(DefaultDomain, s), policy: &policy{network: ore.Isolated}}
	if _, err := n.names.reserve("m0", nil); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		answer, ask := n.answer(msg)
		if ask {
			t.Fatal("an isolated network asks others")
		}
		if answer == nil {
			return
		}
		if len(answer) < dnsHeader || answer[0] != msg[0] || answer[1] != msg[1] || answer[2]&0x80 == 0 || msg[2]&0x80 != 0 {
			t.Fatalf("%x was answered with %x", msg, answer)
		}
	})
}

// FuzzAnswers feeds what resolvers may say.
func FuzzAnswers(f *testing.F) {
	q := question(f, "www.example.org.", dnsmessage.TypeA, true)
	a := append([]byte(nil), q...)
	a[2] |= 0x80
	f.Add(a)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, msg []byte) {
		if answers(msg, q) && (len(msg) < dnsHeader || msg[0] != q[0] || msg[1] != q[1]) {
			t.Fatalf("believed: %x", msg)
		}
	})
}

func FuzzParseResolvers(f *testing.F) {
	f.Add("nameserver 192.0.2.1\n")
	f.Fuzz(func(t *testing.T, s string) {
		if list := parseResolvers(strings.NewReader(s)); len(list) > maxResolvers {
			t.Fatalf("%d resolvers", len(list))
		}
	})
}

// TestResolverDeadline proves that a resolver that says nothing is given up.
func TestResolverDeadline(t *testing.T) {
	at := resolver(t, func([]byte, string) [][]byte { return nil })
	u := upstream{fixed: []netip.AddrPort{at}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if a, err := u.ask(ctx, "udp", question(t, "a.example.org.", dnsmessage.TypeA, false)); err == nil {
		t.Errorf("got %x", a)
	}
}
