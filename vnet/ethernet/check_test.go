package ethernet

import (
	"encoding/binary"
	"testing"
)

var (
	alice = Identity{MAC: MAC{2, 0, 0, 0, 0, 1}, IP: IPv4{10, 0, 0, 1}}
	bob   = Identity{MAC: MAC{2, 0, 0, 0, 0, 2}, IP: IPv4{10, 0, 0, 2}}
	carol = Identity{MAC: MAC{2, 0, 0, 0, 0, 3}, IP: IPv4{10, 0, 0, 3}}
	all   = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// frameOf returns an IPv4 frame with a payload of n bytes.
func frameOf(from, to Identity, n int) []byte {
	b := make([]byte, ipMinimum+n)
	copy(b, to.MAC[:])
	copy(b[ethSrc:], from.MAC[:])
	binary.BigEndian.PutUint16(b[ethType:], typeIPv4)
	b[HeaderSize] = 4<<4 | 5
	binary.BigEndian.PutUint16(b[ipLength:], uint16(20+n))
	copy(b[ipSrc:], from.IP[:])
	copy(b[ipSrc+4:], to.IP[:])
	return b
}

// arpOf returns an ARP frame: a request to all, or a reply to one.
func arpOf(op byte, from, to Identity) []byte {
	b := make([]byte, arpSize)
	copy(b, to.MAC[:])
	if op == 1 {
		copy(b, all[:])
	}
	copy(b[ethSrc:], from.MAC[:])
	binary.BigEndian.PutUint16(b[ethType:], typeARP)
	binary.BigEndian.PutUint64(b[HeaderSize:], arpEthernetIPv4<<16|uint64(op))
	copy(b[arpSenderMAC:], from.MAC[:])
	copy(b[arpSenderIP:], from.IP[:])
	copy(b[arpTargetIP:], to.IP[:])
	return b
}

// changed returns b with one byte set.
func changed(b []byte, at int, v byte) []byte {
	c := append([]byte(nil), b...)
	c[at] = v
	return c
}

func TestCheck(t *testing.T) {
	const max = 1500 + Slack
	router := alice
	router.Router = true
	ip, arp := frameOf(alice, bob, 100), arpOf(1, alice, bob)
	probe := append([]byte(nil), arp...)
	copy(probe[arpSenderIP:], make([]byte, 4))
	for _, c := range []struct {
		summary string
		id      Identity
		b       []byte
		want    Verdict
	}{
		{"IPv4", alice, ip, Pass},
		{"the largest", alice, frameOf(alice, bob, max-ipMinimum), Pass},
		{"ARP request", alice, arp, Pass},
		{"ARP reply", alice, arpOf(2, alice, bob), Pass},
		{"ARP probe without a sender", alice, probe, Pass},
		{"padded to 60 bytes", alice, append(append([]byte(nil), arp...), make([]byte, 18)...), Pass},
		{"nothing", alice, nil, Runt},
		{"13 bytes", alice, ip[:13], Runt},
		{"one too many", alice, frameOf(alice, bob, max-ipMinimum+1), Giant},
		{"another's MAC", bob, ip, Spoofed},
		{"another's IP", alice, changed(ip, ipSrc+3, 2), Spoofed},
		{"another's IP from a router", router, changed(ip, ipSrc+3, 2), Pass},
		{"ARP in another's name", alice, changed(arp, arpSenderIP+3, 2), Spoofed},
		{"ARP in another's name from a router", router, changed(arp, arpSenderIP+3, 2), Spoofed},
		{"ARP with another's MAC", alice, changed(arp, arpSenderMAC+5, 2), Spoofed},
		{"header alone", alice, ip[:HeaderSize], Malformed},
		{"IPv4 cut in the header", alice, ip[:ipMinimum-1], Malformed},
		{"IPv4 with version 6", alice, changed(ip, HeaderSize, 6<<4|5), Malformed},
		{"IPv4 with a header of 16 bytes", alice, changed(ip, HeaderSize, 4<<4|4), Malformed},
		{"IPv4 longer than the frame", alice, changed(ip, ipLength, 1), Malformed},
		{"IPv4 shorter than its header", alice, changed(changed(ip, ipLength, 0), ipLength+1, 19), Malformed},
		{"ARP cut", alice, arp[:arpSize-1], Malformed},
		{"ARP for another hardware", alice, changed(arp, HeaderSize+1, 2), Malformed},
		{"ARP with long addresses", alice, changed(arp, HeaderSize+4, 8), Malformed},
		{"ARP operation 3", alice, changed(arp, arpOp+1, 3), Malformed},
		{"ARP operation 257", alice, changed(arp, arpOp, 1), Malformed},
		{"IPv6", alice, changed(changed(ip, ethType, 0x86), ethType+1, 0xdd), Foreign},
		{"VLAN tag", alice, changed(ip, ethType, 0x81), Foreign},
		{"802.3 length", alice, changed(ip, ethType, 0x00), Foreign},
	} {
		if got := Check(c.b, c.id, max); got != c.want {
			t.Errorf("%s: %v, want %v", c.summary, got, c.want)
		}
	}
}

func TestVerdictsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for v := range verdicts {
		if s := v.String(); seen[s] || s == "" || s[0] == 'v' {
			t.Errorf("verdict %d is called %q", uint8(v), s)
		} else {
			seen[s] = true
		}
	}
}

// FuzzCheck holds what the rest of the switch relies on: frames that pass are
// long enough for every field that is read from them, and say who sent them.
func FuzzCheck(f *testing.F) {
	for _, b := range [][]byte{frameOf(alice, bob, 10), arpOf(1, alice, bob), arpOf(2, alice, bob), {}, make([]byte, 14)} {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, router bool) {
		const max = 1500 + Slack
		id := alice
		id.Router = router
		if Check(b, id, max) != Pass {
			return
		}
		if len(b) < HeaderSize || len(b) > max || MAC(b[6:12]) != id.MAC {
			t.Fatalf("passed: %x", b)
		}
		arpTarget(b, id)
		switch {
		case b[12] == 8 && b[13] == 0:
			total := int(b[16])<<8 | int(b[17])
			if len(b) < 34 || 14+total > len(b) || total < 20 || !router && IPv4(b[26:30]) != id.IP {
				t.Fatalf("passed: %x", b)
			}
		case b[12] == 8 && b[13] == 6:
			if ip := IPv4(b[28:32]); len(b) < 42 || MAC(b[22:28]) != id.MAC || ip != id.IP && ip != (IPv4{}) {
				t.Fatalf("passed: %x", b)
			}
		default:
			t.Fatalf("passed: %x", b)
		}
	})
}
