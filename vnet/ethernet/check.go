package ethernet

import (
	"encoding/binary"
	"fmt"
	"net"
)

// MAC is an Ethernet address.
type MAC [6]byte

// String returns the usual form with colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Group reports whether m is a broadcast or multicast address.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// IPv4 is an IPv4 address.
type IPv4 [4]byte

// Identity is who a port is. Its frames must say so.
type Identity struct {
	MAC MAC
	IP  IPv4
	// Router says that IPv4 packets from other sources come through this port,
	// as they do from a gateway. The MAC and ARP are checked all the same.
	Router bool
}

// Verdict is what became of a frame.
type Verdict uint8

// The verdicts. All but Pass mean that the frame was dropped.
const (
	Pass      Verdict = iota
	Runt              // shorter than an Ethernet header
	Giant             // longer than the MTU allows
	Spoofed           // sent in another's name
	Malformed         // ARP or IPv4 that contradicts itself
	Foreign           // neither ARP nor IPv4
	Unknown           // to an address that nobody has
	Storm             // broadcast or multicast above the sender's rate
	Full              // the receiver's queue was full, or it was gone
	Lost              // by the loss that Impair asked for
	verdicts
)

// String names the verdict, as in statistics.
func (v Verdict) String() string {
	names := [...]string{"pass", "runt", "giant", "spoofed", "malformed", "foreign", "unknown", "storm", "full", "lost"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// EtherTypes that pass (IEEE 802 numbers, IANA).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
)

// Offsets in a frame: Ethernet, then RFC 791 3.1 and RFC 826.
const (
	ethDst       = 0
	ethSrc       = 6
	ethType      = 12
	ipLength     = HeaderSize + 2
	ipSrc        = HeaderSize + 12
	ipMinimum    = HeaderSize + 20
	arpOp        = HeaderSize + 6
	arpSenderMAC = HeaderSize + 8
	arpSenderIP  = HeaderSize + 14
	arpTargetIP  = HeaderSize + 24
	arpSize      = HeaderSize + 28
)

// arpEthernetIPv4 is how an ARP packet for IPv4 over Ethernet begins: hardware
// type 1, protocol 0x0800, address lengths 6 and 4 (RFC 826).
const arpEthernetIPv4 = 0x0001_0800_0604

// Check judges a frame that came from a port with the given identity. max is
// the largest size allowed.
func Check(b []byte, id Identity, max int) Verdict {
	switch {
	case len(b) < HeaderSize:
		return Runt
	case len(b) > max:
		return Giant
	case MAC(b[ethSrc:ethType]) != id.MAC:
		return Spoofed
	}
	switch binary.BigEndian.Uint16(b[ethType:]) {
	case typeIPv4:
		return checkIPv4(b, id)
	case typeARP:
		return checkARP(b, id)
	}
	return Foreign
}

func checkIPv4(b []byte, id Identity) Verdict {
	if len(b) < ipMinimum || b[HeaderSize]>>4 != 4 {
		return Malformed
	}
	header := int(b[HeaderSize]&0xf) * 4
	length := int(binary.BigEndian.Uint16(b[ipLength:]))
	if header < ipMinimum-HeaderSize || length < header || HeaderSize+length > len(b) {
		return Malformed
	}
	if !id.Router && IPv4(b[ipSrc:ipSrc+4]) != id.IP {
		return Spoofed
	}
	return Pass
}

func checkARP(b []byte, id Identity) Verdict {
	if len(b) < arpSize || binary.BigEndian.Uint64(b[HeaderSize:])>>16 != arpEthernetIPv4 {
		return Malformed
	}
	if op := binary.BigEndian.Uint16(b[arpOp:]); op != 1 && op != 2 {
		return Malformed
	}
	if MAC(b[arpSenderMAC:arpSenderIP]) != id.MAC {
		return Spoofed
	}
	// A probe for an address in use has no sender address (RFC 5227, 2.1.1).
	if ip := IPv4(b[arpSenderIP : arpSenderIP+4]); ip != id.IP && ip != (IPv4{}) {
		return Spoofed
	}
	return Pass
}

// arpTarget returns the address that a checked frame asks for, if it is an ARP
// request for an address other than the sender's own.
func arpTarget(b []byte, id Identity) (IPv4, bool) {
	if binary.BigEndian.Uint16(b[ethType:]) != typeARP || b[arpOp+1] != 1 {
		return IPv4{}, false
	}
	ip := IPv4(b[arpTargetIP : arpTargetIP+4])
	return ip, ip != id.IP
}
