package vnet

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"ore/vnet/ethernet"
)

// nic is the number of the only interface of a stack.
const nic = 1

// Buffers of a TCP connection that ends in our process: the kernel's defaults
// are of this order. They are memory only while they are filled.
const (
	tcpMinBuffer     = 4 << 10
	tcpDefaultBuffer = 256 << 10
	tcpMaxBuffer     = 4 << 20
)

// newStack returns an IPv4 stack with the address a, reached through l.
func newStack(l stack.LinkEndpoint, a netip.Prefix) (*stack.Stack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			// Packets to 127/8 must reach the policy, which answers them; the
			// stack would swallow them.
			ipv4.NewProtocolWithOptions(ipv4.Options{AllowExternalLoopbackTraffic: true}),
			arp.NewProtocol,
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	if err := tuneTCP(s); err != nil {
		s.Destroy()
		return nil, err
	}
	if err := s.CreateNIC(nic, l); err != nil {
		s.Destroy()
		return nil, fmt.Errorf("network stack: interface: %v", err)
	}
	address := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{
		Address: tcpip.AddrFrom4(a.Addr().As4()), PrefixLen: a.Bits(),
	}}
	if err := s.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
		s.Destroy()
		return nil, fmt.Errorf("network stack: address %v: %v", a, err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}})
	return s, nil
}

func tuneTCP(s *stack.Stack) error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcpMinBuffer, Default: tcpDefaultBuffer, Max: tcpMaxBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: tcpMinBuffer, Default: tcpDefaultBuffer, Max: tcpMaxBuffer}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &receive, &send} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("network stack: option %T: %v", o, err)
		}
	}
	return nil
}

// link joins a stack and a port of the switch: it is an Outlet to the switch
// and a link-layer endpoint to the stack.
type link struct {
	mtu    uint32
	mac    tcpip.LinkAddress
	port   *ethernet.Port // set once, before the stack exists
	pool   *ethernet.Pool
	screen func(b []byte) bool // whether the stack is to see a frame; nil means all

	dispatcher atomic.Pointer[stack.NetworkDispatcher]
}

var (
	_ ethernet.Outlet    = (*link)(nil)
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

// newLink plugs a new link into s.
func newLink(s *ethernet.Switch, id ethernet.Identity, mtu int, screen func([]byte) bool) (*link, error) {
	l := &link{mtu: uint32(mtu), mac: tcpip.LinkAddress(id.MAC[:]), pool: s.Pool(), screen: screen}
	port, err := s.Plug(id, l)
	if err != nil {
		return nil, err
	}
	l.port = port
	return l, nil
}

// Deliver gives a frame to the stack. The stack copies it, and does what may
// take long in goroutines of its own.
func (l *link) Deliver(f *ethernet.Frame) bool {
	defer f.Release()
	d := l.dispatcher.Load()
	if d == nil {
		return false
	}
	b := f.Bytes()
	if l.screen != nil && !l.screen(b) {
		return true
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	pkt.PktType = tcpip.PacketHost
	if eth := header.Ethernet(b); eth.DestinationAddress() == header.EthernetBroadcastAddress {
		pkt.PktType = tcpip.PacketBroadcast
	} else if header.IsMulticastEthernetAddress(eth.DestinationAddress()) {
		pkt.PktType = tcpip.PacketMulticast
	}
	if l.ParseHeader(pkt) {
		(*d).DeliverNetworkPacket(header.Ethernet(b).Type(), pkt)
	}
	return true
}

// WritePackets sends the stack's packets into the switch.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range pkts.AsSlice() {
		size := pkt.Size()
		if size > l.pool.Max() {
			return n, &tcpip.ErrMessageTooLong{}
		}
		f := l.pool.Get(size)
		at := 0
		for _, part := range pkt.AsSlices() {
			at += copy(f.Bytes()[at:], part)
		}
		l.port.Input(f)
		n++
	}
	return n, nil
}

// Attach is called by the stack with the place that packets go to.
func (l *link) Attach(d stack.NetworkDispatcher) {
	if d == nil {
		l.dispatcher.Store(nil)
		return
	}
	l.dispatcher.Store(&d)
}

// IsAttached reports whether a stack is there.
func (l *link) IsAttached() bool { return l.dispatcher.Load() != nil }

// MTU returns the largest size of an IP packet.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU does nothing: the size is the network's.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength returns the room that AddHeader needs.
func (l *link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress returns the MAC.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.mac }

// SetLinkAddress does nothing: the port's identity is fixed.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities tells the stack to resolve addresses. Checksums of what comes in
// are not verified again: between a guest's driver and us is only memory.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}

// GSOMaxSize is the size of the segments that TCP works with before it cuts
// them to the MTU.
func (l *link) GSOMaxSize() uint32 { return stack.GVisorGSOMaxSize }

// SupportedGSO says that cutting is done by the stack.
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// Wait returns at once: a link has no goroutines.
func (l *link) Wait() {}

// Close does nothing: the port belongs to the switch.
func (l *link) Close() {}

// SetOnCloseAction does nothing, as Close.
func (l *link) SetOnCloseAction(func()) {}

// ARPHardwareType is Ethernet's.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader writes the Ethernet header of a packet that leaves.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.mac,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader splits off the Ethernet header of a packet that comes in.
func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}
