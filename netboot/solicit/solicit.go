// Package solicit answers machines that ask for an IPv6 router, where there is
// none: with "I am here, and no router".
//
// iPXE configures IPv4 and IPv6 of a card at once and goes on when both are
// settled. Without any Router Advertisement it takes 13 seconds until it
// believes that there is no IPv6, which is most of what booting from the network
// takes. An advertisement of lifetime 0, without prefix and flags (RFC 4861,
// sections 4.2 and 6.2.3), settles it at once: its sender is no default router, it
// gives no address, and nobody is to ask for DHCPv6. Whoever has a real
// router's word keeps it.
package solicit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/net/ipv6"

	"ore/netboot/link"
)

const (
	// hopLimit proves that a message was not routed here (RFC 4861, section 6.1.1).
	hopLimit = 255
	// solicitationLen is the shortest Router Solicitation (section 4.1).
	solicitationLen = 8
	maxPacket       = 1500
	// The types of messages (sections 4.1 and 4.2).
	typeSolicitation  = 133
	typeAdvertisement = 134
)

// Server answers until it is closed.
type Server struct {
	conn *ipv6.PacketConn
	to   *net.IPAddr
	end  func()
	all  sync.WaitGroup
}

// Start answers on the interface until ctx ends or Close is called. It is an
// error that the host has no IPv6 there.
func Start(ctx context.Context, i link.Interface) (*Server, error) {
	l := net.ListenConfig{Control: i.Bind}
	c, err := l.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("answer IPv6 solicitations on %s: %w", i.Name, err)
	}
	s := &Server{conn: ipv6.NewPacketConn(c), to: &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: i.Name}}
	if err := s.set(i); err != nil {
		c.Close()
		return nil, fmt.Errorf("answer IPv6 solicitations on %s: %w", i.Name, err)
	}
	s.end = link.Until(ctx, c)
	s.all.Go(s.serve)
	return s, nil
}

// set lets in solicitations alone, and out what RFC 4861 wants.
func (s *Server) set(i link.Interface) error {
	index, err := net.InterfaceByName(i.Name)
	if err != nil {
		return err
	}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterSolicitation)
	routers := &net.IPAddr{IP: net.IPv6linklocalallrouters}
	return errors.Join(s.conn.SetICMPFilter(&only), s.conn.JoinGroup(index, routers), s.conn.SetMulticastInterface(index),
		s.conn.SetMulticastHopLimit(hopLimit), s.conn.SetMulticastLoopback(false), s.conn.SetControlMessage(ipv6.FlagHopLimit, true))
}

// Close ends the server and waits for its end.
func (s *Server) Close() error {
	s.end()
	s.all.Wait()
	return nil
}

func (s *Server) serve() {
	b := make([]byte, maxPacket)
	for {
		n, control, _, err := s.conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || control == nil || control.HopLimit != hopLimit || !asks(b[:n]) {
			continue
		}
		// The answer goes to all nodes, as it may where the one who asks has no
		// address yet. It is not told where it cannot go: nothing depends on it.
		if _, err = s.conn.WriteTo(advertisement(), nil, s.to); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// asks says whether a packet is a solicitation.
func asks(b []byte) bool {
	return len(b) >= solicitationLen && b[0] == typeSolicitation && b[1] == 0
}

// advertisement is a Router Advertisement (RFC 4861, section 4.2): type, code, a
// checksum that the kernel fills in, current hop limit (unspecified), flags, and
// router lifetime, reachable and retransmit times, all 0.
func advertisement() []byte {
	b := make([]byte, 16)
	b[0] = typeAdvertisement
	return b
}
