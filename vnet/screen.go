package vnet

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"ore/vnet/ethernet"
)

// screen says which frames the gateway's stack is to see. The stack takes
// packets for every address and would answer ICMP echo in the name of each: so
// what is neither TCP nor UDP nor for the gateway itself is refused here.
func (n *Network) screen(b []byte) bool {
	if header.Ethernet(b).Type() != header.IPv4ProtocolNumber {
		return true
	}
	ip := header.IPv4(b[header.EthernetMinimumSize:])
	dst := netip.AddrFrom4(ip.DestinationAddress().As4())
	if dst == n.subnet.gateway() {
		return true
	}
	switch tcpip.TransportProtocolNumber(ip.Protocol()) {
	case header.TCPProtocolNumber, header.UDPProtocolNumber:
		return true
	}
	n.flows.refused.Add(1)
	if f := n.prohibited(b); f != nil {
		n.gateway.port.Input(f)
	}
	return false
}

// quoted is how much of a refused packet's payload comes back with the refusal
// (RFC 792).
const quoted = 8

// prohibited returns the refusal of the packet in b: ICMP destination
// unreachable, communication administratively prohibited (RFC 1812, 5.2.7.1).
// It returns nil where RFC 1122 (3.2.2) wants none: for what is not addressed
// to one host, for later fragments, and for ICMP other than echo requests.
func (n *Network) prohibited(b []byte) *ethernet.Frame {
	eth, ip := header.Ethernet(b), header.IPv4(b[header.EthernetMinimumSize:])
	dst := netip.AddrFrom4(ip.DestinationAddress().As4())
	length, end := int(ip.HeaderLength()), int(ip.TotalLength())
	end = min(end, length+quoted)
	switch {
	case header.IsMulticastEthernetAddress(eth.DestinationAddress()), dst.IsMulticast(), dst == n.subnet.broadcast(), ip.FragmentOffset() != 0:
		return nil
	case ip.Protocol() == uint8(header.ICMPv4ProtocolNumber) && (end == length || ip[length] != byte(header.ICMPv4Echo)):
		return nil
	}
	const before = header.EthernetMinimumSize + header.IPv4MinimumSize + header.ICMPv4MinimumSize
	f := n.gateway.pool.Get(before + end)
	out := f.Bytes()
	clear(out[:before])
	copy(out[before:], ip[:end])
	header.Ethernet(out).Encode(&header.EthernetFields{SrcAddr: n.gateway.mac, DstAddr: eth.SourceAddress(), Type: header.IPv4ProtocolNumber})
	answer := header.IPv4(out[header.EthernetMinimumSize:])
	answer.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(answer)), TTL: answerTTL, Protocol: uint8(header.ICMPv4ProtocolNumber),
		SrcAddr: tcpip.AddrFrom4(n.subnet.gateway().As4()), DstAddr: ip.SourceAddress(),
	})
	answer.SetChecksum(^answer.CalculateChecksum())
	icmp := header.ICMPv4(answer[header.IPv4MinimumSize:])
	icmp.SetType(header.ICMPv4DstUnreachable)
	icmp.SetCode(header.ICMPv4AdminProhibited)
	binary.BigEndian.PutUint16(icmp[2:], header.ICMPv4Checksum(icmp, 0))
	return f
}

// answerTTL is the time to live of what the gateway makes (RFC 1700's default).
const answerTTL = 64
