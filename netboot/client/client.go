// Package client gets a machine that booted from the network onto that network:
// the kernel knows nothing of the address that firmware and iPXE had.
//
// It asks by DHCP (RFC 2131) over the card that the machine booted by, and sets
// address, route and name servers with the system calls that every kernel has
// (netdevice(7)); no other program is needed. The lease is not renewed: an
// installer is done sooner, and its machine gets the same address again.
package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ore/netboot/link"
)

const (
	clientPort = 68
	serverPort = 67
	// firstWait is how long a first answer is waited for; it doubles with each
	// try up to maxWait (RFC 2131, section 4.1, with less patience).
	firstWait = 2 * time.Second
	maxWait   = 16 * time.Second
	// cardEvery is how often a card is looked for whose driver is still starting.
	cardEvery = 200 * time.Millisecond
	// maxPacket is more than any DHCP packet that passes an Ethernet.
	maxPacket = 1500
)

// Lease is what a server gave.
type Lease struct {
	Interface string
	Address   netip.Prefix
	Router    netip.Addr // the zero value where none was told
	DNS       []netip.Addr
	Domain    string
	Time      time.Duration
}

// Up waits for a card to be there, switches it on, gets an address, and sets it,
// until ctx ends.
func Up(ctx context.Context, card link.MAC) (Lease, error) {
	l, err := up(ctx, card)
	if err != nil {
		return Lease{}, fmt.Errorf("network over %s: %w", card, err)
	}
	return l, nil
}

func up(ctx context.Context, card link.MAC) (Lease, error) {
	name, err := await(ctx, card)
	if err != nil {
		return Lease{}, err
	}
	if err := switchOn(name); err != nil {
		return Lease{}, fmt.Errorf("switch %s on: %w", name, err)
	}
	l, err := ask(ctx, name, card)
	if err != nil {
		return Lease{}, err
	}
	return l, l.apply()
}

// await returns the name of the interface with a card's address.
func await(ctx context.Context, card link.MAC) (string, error) {
	look := time.NewTicker(cardEvery)
	defer look.Stop()
	for {
		all, err := net.Interfaces()
		if err != nil {
			return "", err
		}
		var seen []string
		for _, i := range all {
			if i.HardwareAddr.String() == card.String() {
				return i.Name, nil
			}
			if len(i.HardwareAddr) > 0 {
				seen = append(seen, i.Name+" "+i.HardwareAddr.String())
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w: no such card: the kernel shows %s: its driver may lack, or need firmware that is not free", ctx.Err(), strings.Join(seen, ", "))
		case <-look.C:
		}
	}
}

// ask asks until a server has given an address.
func ask(ctx context.Context, name string, card link.MAC) (Lease, error) {
	conn, err := link.Interface{Name: name}.ShareUDP(ctx, clientPort)
	if err != nil {
		return Lease{}, err
	}
	defer link.Until(ctx, conn)()
	var last error
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		l, err := once(conn, card, wait)
		if err == nil {
			l.Interface = name
			return l, nil
		}
		if ctx.Err() != nil {
			return Lease{}, fmt.Errorf("%w: no address: %w", ctx.Err(), errors.Join(last, err))
		}
		last = err
	}
}

// once goes through the four packets.
func once(conn *net.UDPConn, card link.MAC, wait time.Duration) (Lease, error) {
	mac := net.HardwareAddr(card[:])
	id := dhcpv4.TransactionID{byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())}
	discover, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true), dhcpv4.WithTransactionID(id),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName))
	if err != nil {
		return Lease{}, err
	}
	offer, err := say(conn, discover, wait, dhcpv4.MessageTypeOffer)
	if err != nil {
		return Lease{}, err
	}
	request, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(true), dhcpv4.WithTransactionID(id))
	if err != nil {
		return Lease{}, err
	}
	ack, err := say(conn, request, wait, dhcpv4.MessageTypeAck)
	if err != nil {
		return Lease{}, err
	}
	return leaseOf(ack)
}

// errDenied is a server that takes its offer back.
var errDenied = errors.New("the server took its offer back")

// say sends a packet to all, and returns the answer that is of the type wanted.
func say(conn *net.UDPConn, m *dhcpv4.DHCPv4, wait time.Duration, want dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), serverPort)
	if _, err := conn.WriteToUDPAddrPort(m.ToBytes(), to); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	b := make([]byte, maxPacket)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return nil, fmt.Errorf("no answer to %s: %w", m.MessageType(), err)
		}
		p, err := dhcpv4.FromBytes(b[:n])
		if err != nil || p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != m.TransactionID || p.ClientHWAddr.String() != m.ClientHWAddr.String() {
			continue // another's, or nobody's
		}
		switch p.MessageType() {
		case want:
			return p, nil
		case dhcpv4.MessageTypeNak:
			return nil, errDenied
		}
	}
}

// leaseOf reads what a server gave.
func leaseOf(p *dhcpv4.DHCPv4) (Lease, error) {
	address, ok := netip.AddrFromSlice(p.YourIPAddr.To4())
	mask := p.SubnetMask()
	ones, bits := mask.Size()
	if !ok || address.IsUnspecified() || bits != 32 || ones == 0 {
		return Lease{}, fmt.Errorf("the server gave %v with the mask %v, which is no address", p.YourIPAddr, mask)
	}
	l := Lease{Address: netip.PrefixFrom(address, ones), Time: p.IPAddressLeaseTime(0)}
	if r := p.Router(); len(r) > 0 {
		if a, ok := netip.AddrFromSlice(r[0].To4()); ok {
			l.Router = a
		}
	}
	for _, d := range p.DNS() {
		if a, ok := netip.AddrFromSlice(d.To4()); ok {
			l.DNS = append(l.DNS, a)
		}
	}
	if d := p.DomainName(); plain(d) {
		l.Domain = d
	}
	return l, nil
}

// plain says whether a domain can be a word of resolv.conf(5).
func plain(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// Resolver returns what resolv.conf(5) says with the lease.
func (l Lease) Resolver() string {
	var b strings.Builder
	if l.Domain != "" {
		b.WriteString("search " + l.Domain + "\n")
	}
	for _, d := range l.DNS {
		b.WriteString("nameserver " + d.String() + "\n")
	}
	return b.String()
}

// WriteResolver writes it below root, in place of what is there.
func (l Lease) WriteResolver(root string) error {
	path := filepath.Join(root, "etc/resolv.conf")
	if err := os.WriteFile(path+".new", []byte(l.Resolver()), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
