package vnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"ore/vnet/ethernet"
)

// The default subnets are taken from 10.0.0.0/8 (RFC 1918), starting at a place
// that few sites use, with room for defaultBits' worth of machines.
const (
	defaultBits  = 22 // 1,021 machines
	defaultFirst = 213
	minBits      = 8  // larger subnets than 10/8 are a mistake
	maxBits      = 30 // the smallest that has a gateway and a machine
)

// gatewayOffset and firstMachine are places in the subnet, counted from its
// network address.
const (
	gatewayOffset = 1
	firstMachine  = 2
)

// subnet is arithmetic on the addresses of a network.
type subnet struct{ prefix netip.Prefix }

// chooseSubnet returns the wanted prefix, or a default that is apart from all
// in used: a machine must not take the host's neighbours for its own.
func chooseSubnet(want netip.Prefix, used []netip.Prefix) (subnet, error) {
	if want.IsValid() {
		want = want.Masked()
		if !want.Addr().Is4() || want.Bits() < minBits || want.Bits() > maxBits {
			return subnet{}, fmt.Errorf("subnet %v: not IPv4 with /%d to /%d", want, minBits, maxBits)
		}
		return subnet{want}, nil
	}
	for i := range 256 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(defaultFirst + i)}), defaultBits)
		if !overlapsAny(p, used) {
			return subnet{p}, nil
		}
	}
	return subnet{}, errors.New("choose a subnet: the host uses all of 10.0.0.0/8: name a free one in the configuration")
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if p.Overlaps(u) {
			return true
		}
	}
	return false
}

// at returns the address at an offset.
func (s subnet) at(offset int) netip.Addr {
	b := s.prefix.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(offset))
	return netip.AddrFrom4(b)
}

// machines returns how many machines fit.
func (s subnet) machines() int { return 1<<(32-s.prefix.Bits()) - firstMachine - 1 }

// holds reports whether a is the address of a machine, not the gateway's or one
// that means many.
func (s subnet) holds(a netip.Addr) bool {
	return s.prefix.Contains(a) && a != s.at(0) && a != s.gateway() && a != s.broadcast()
}

// gateway returns the gateway's address.
func (s subnet) gateway() netip.Addr { return s.at(gatewayOffset) }

// identity returns who has an address. MACs are locally administered (IEEE
// 802c) and hold the address, so that one who reads a trace sees whose frame
// it is.
func identity(a netip.Addr) ethernet.Identity {
	ip := a.As4()
	return ethernet.Identity{
		MAC: ethernet.MAC{0x02, 0x6f, ip[0], ip[1], ip[2], ip[3]},
		IP:  ip,
	}
}

// broadcast returns the address that means all of the subnet.
func (s subnet) broadcast() netip.Addr { return s.at(1<<(32-s.prefix.Bits()) - 1) }
