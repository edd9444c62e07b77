package vnet

import (
	"encoding/binary"
	"net/netip"

	"ore/vnet/ethernet"
)

// maxPings is how many destinations a machine may ping at once.
const maxPings = 16

// Places in a frame (RFC 791, RFC 792).
const (
	ipProtocol   = ethernet.HeaderSize + 9
	ipDst        = ethernet.HeaderSize + 16
	protocolICMP = 1
	protocolTCP  = 6
	protocolUDP  = 17
)

// screen says which frames the gateway's stack is to see. It answers ICMP echo
// for every address that it takes packets for, which are all: so what is not
// for the gateway itself must not reach it.
func (n *Network) screen(b []byte) bool {
	if binary.BigEndian.Uint16(b[12:]) != 0x0800 {
		return true
	}
	dst := netip.AddrFrom4([4]byte(b[ipDst : ipDst+4]))
	if dst == n.subnet.gateway() {
		return true
	}
	switch b[ipProtocol] {
	case protocolTCP, protocolUDP:
		return true
	}
	n.flows.refused.Add(1)
	return false
}
