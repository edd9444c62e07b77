package vnet

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// rawGuest is a machine that sends what it likes.
type rawGuest struct {
	Address
	t testing.TB
	f *os.File
}

func newRawGuest(t testing.TB, n *Network, name string) *rawGuest {
	t.Helper()
	f, a, err := n.Attach(name)
	if err != nil {
		t.Fatal(err)
	}
	g := &rawGuest{Address: a, t: t, f: pollable(t, f)}
	t.Cleanup(func() { g.f.Close() })
	return g
}

func (g *rawGuest) send(frame []byte) {
	g.t.Helper()
	if _, err := g.f.Write(frame); err != nil {
		g.t.Fatal(err)
	}
}

func (g *rawGuest) receive() []byte {
	g.t.Helper()
	b := make([]byte, 1<<16)
	g.f.SetReadDeadline(time.Now().Add(patience))
	n, err := g.f.Read(b)
	if err != nil {
		g.t.Fatal(err)
	}
	return b[:n]
}

// packet returns an IPv4 frame to the gateway with room for a payload.
func (g *rawGuest) packet(dst netip.Addr, protocol tcpip.TransportProtocolNumber, payload int) []byte {
	b := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+payload)
	header.Ethernet(b).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(g.MAC), DstAddr: tcpip.LinkAddress(macOf(g.Gateway)), Type: header.IPv4ProtocolNumber,
	})
	ip := header.IPv4(b[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(ip)), TTL: 64, Protocol: uint8(protocol),
		SrcAddr: tcpip.AddrFrom4(g.IP.As4()), DstAddr: tcpip.AddrFrom4(dst.As4()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	return b
}

func macOf(a netip.Addr) net.HardwareAddr {
	id := identity(a)
	return id.MAC[:]
}

// syn returns a TCP connection request.
func (g *rawGuest) syn(dst netip.AddrPort) []byte {
	b := g.packet(dst.Addr(), header.TCPProtocolNumber, header.TCPMinimumSize)
	ip := header.IPv4(b[header.EthernetMinimumSize:])
	tcp := header.TCP(ip.Payload())
	tcp.Encode(&header.TCPFields{
		SrcPort: 40000, DstPort: dst.Port(), SeqNum: 1, DataOffset: header.TCPMinimumSize,
		Flags: header.TCPFlagSyn, WindowSize: 1000,
	})
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(tcp)))
	tcp.SetChecksum(^tcp.CalculateChecksum(checksum.Checksum(nil, sum)))
	return b
}

// TestLoopbackIsRefused sends what no ordinary guest kernel would: a packet to
// a loopback address, by way of the gateway.
func TestLoopbackIsRefused(t *testing.T) {
	n := newNet(t, natConfig)
	g := newRawGuest(t, n, "m0")
	port := hostEcho(t).Port()
	for _, a := range []string{"127.0.0.1", "127.9.9.9"} {
		dst := netip.AddrPortFrom(netip.MustParseAddr(a), port)
		g.send(g.syn(dst))
		for {
			b := g.receive()
			ip := header.IPv4(b[header.EthernetMinimumSize:])
			if header.Ethernet(b).Type() != header.IPv4ProtocolNumber || ip.Protocol() != uint8(header.TCPProtocolNumber) {
				continue
			}
			if tcp := header.TCP(ip.Payload()); tcp.Flags()&header.TCPFlagRst == 0 || ip.SourceAddress().String() != a {
				t.Errorf("%s: answer %v from %v", a, tcp.Flags(), ip.SourceAddress())
			}
			break
		}
	}
	if s := n.Stats(); s.TCP != 0 {
		t.Errorf("%d connections were made", s.TCP)
	}
}

// TestEchoOfOthersIsNotAnswered proves that the gateway does not answer ICMP
// echo in the name of whoever is asked.
func TestEchoOfOthersIsNotAnswered(t *testing.T) {
	n := newNet(t, Config{})
	g := newRawGuest(t, n, "m0")
	echoTo := func(a netip.Addr) []byte {
		b := g.packet(a, header.ICMPv4ProtocolNumber, header.ICMPv4MinimumSize+4)
		icmp := header.ICMPv4(header.IPv4(b[header.EthernetMinimumSize:]).Payload())
		icmp.SetType(header.ICMPv4Echo)
		icmp.SetIdent(7)
		icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
		return b
	}
	g.send(echoTo(netip.MustParseAddr("192.0.2.1")))
	g.send(echoTo(g.Gateway))
	// What was sent first is answered first.
	for _, want := range []header.ICMPv4Type{header.ICMPv4DstUnreachable, header.ICMPv4EchoReply} {
		b := g.receive()
		for header.Ethernet(b).Type() != header.IPv4ProtocolNumber {
			b = g.receive()
		}
		ip := header.IPv4(b[header.EthernetMinimumSize:])
		icmp := header.ICMPv4(ip.Payload())
		if icmp.Type() != want || ip.SourceAddress().String() != g.Gateway.String() {
			t.Errorf("type %d from %v, want %d from the gateway", icmp.Type(), ip.SourceAddress(), want)
		}
		if !ip.IsChecksumValid() || checksum.Checksum(icmp, 0) != 0xffff {
			t.Errorf("wrong checksums in %x", b)
		}
	}
}

// FuzzGateway gives the gateway whatever passes the switch: nothing may fall
// over, and what comes back must pass the switch too.
func FuzzGateway(f *testing.F) {
	n, err := New(Config{Subnet: netip.MustParsePrefix("10.9.8.0/24"), MTU: 1500})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { n.Close() })
	g := newRawGuest(f, n, "m0")
	f.Add(g.syn(netip.MustParseAddrPort("127.0.0.1:80")))
	f.Add(g.syn(netip.AddrPortFrom(g.Gateway, dnsPort)))
	f.Add(g.packet(netip.MustParseAddr("192.0.2.1"), header.ICMPv4ProtocolNumber, 8))
	f.Add(g.packet(netip.MustParseAddr("192.0.2.1"), header.UDPProtocolNumber, 8))
	f.Add(g.packet(netip.MustParseAddr("192.0.2.1"), 132, 0))
	port := n.ports["m0"]
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > n.plane.Pool().Max() {
			return
		}
		frame := n.plane.Pool().Get(len(b))
		copy(frame.Bytes(), b)
		port.Input(frame)
		if s := n.gateway.port.Stats(); len(s.Dropped) > 1 || len(s.Dropped) == 1 && s.Dropped["unknown"] == 0 {
			t.Fatalf("the gateway sent frames that were dropped: %v", s.Dropped)
		}
	})
}
