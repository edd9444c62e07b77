// Package dhcp tells machines their address and what to boot.
//
//	RFC 2131, 2132  DHCP and its options
//	RFC 4578        options of PXE: 93 architecture, 94 interface, 97 UUID
//	RFC 3004        option 77, user class: how iPXE says that it is iPXE
//	PXE 2.1         Preboot Execution Environment, 20 September 1999: sections 2 and 3
//	UEFI 2.10       chapter 24: HTTP boot
//
// # Two ways
//
// Given a range, the server is the network's DHCP server: it gives each card an
// address, always the same while there are enough, and whoever boots from the
// network a file's name with it. Given none, it is what PXE calls a ProxyDHCP
// service beside somebody else's server: it gives no address, answers only
// those who boot from the network, and adds the file's name, at port 67 and,
// to those who ask again, at port 4011.
//
// A card is known by its hardware address alone, not by its client identifier
// (option 61): firmware, iPXE, installer and installed system each have
// another identifier, and are to have one address.
//
// Answers to clients without an address are broadcast, whether they ask for
// that or not (RFC 2131, section 4.1, allows it where sending to a hardware
// address without ARP is not possible, as over a plain socket).
//
// # Others on the network
//
// Two servers that give addresses harm everybody, so a server with a range
// first looks whether another one answers, and does not start beside it. It
// looks again now and then, and listens for clients that name another server,
// and tells of it. A server without a range tells when nobody gives addresses.
// Relayed requests are answered through the relay if the range is of its
// network.
//
// # What is kept
//
// A lease is on the disk before its client hears of it (RFC 2131, section 2.1).
// It is kept for twice as long as the client is told, so that a client which
// renews in time costs no writing. Offers are not kept.
//
// # Hostile packets
//
// Any packet is read by one goroutine and answered by at most one packet. What
// is remembered of senders is bounded by the range. A liar with many hardware
// addresses can use up the offers for half a minute at a time; that is told.
package dhcp
