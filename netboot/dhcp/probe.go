package dhcp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ore/netboot/link"
)

// maxServers bounds what a probe remembers.
const maxServers = 8

// probeCard returns an address for probes: the interface's own, made a locally
// administered one of another sort (IEEE 802, section 8.4).
func probeCard(own net.HardwareAddr) link.MAC {
	m := link.MAC{2, 'o', 'r', 'e'}
	if len(own) == len(m) {
		copy(m[4:], own[4:])
	}
	return m
}

// look asks for an address, takes none, and returns the servers that offered
// one.
func (s *Server) look(ctx context.Context) ([]netip.Addr, error) {
	conn, err := s.config.Link.ShareUDP(ctx, clientPort)
	if err != nil {
		return nil, fmt.Errorf("%w: it can be seen only from what clients say", err)
	}
	defer link.Until(ctx, conn)()
	id := rand.Uint32()
	all := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), Port)
	if _, err := conn.WriteToUDPAddrPort(probe(s.probing, id), all); err != nil {
		return nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(s.config.Probe)); err != nil {
		return nil, err
	}
	var found []netip.Addr
	b := make([]byte, maxPacket)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return found, nil
		}
		if err != nil {
			return found, errors.Join(ctx.Err(), err)
		}
		server, ok := s.offered(b[:n], id)
		if ok && !slices.Contains(found, server) && len(found) < maxServers {
			found = append(found, server)
		}
	}
}

// offered says which other server offers our probe an address in a packet.
func (s *Server) offered(b []byte, id uint32) (netip.Addr, bool) {
	m, err := dhcpv4.FromBytes(b)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply || m.MessageType() != dhcpv4.MessageTypeOffer {
		return netip.Addr{}, false
	}
	from, _ := mac(m)
	sent := uint32(m.TransactionID[0])<<24 | uint32(m.TransactionID[1])<<16 | uint32(m.TransactionID[2])<<8 | uint32(m.TransactionID[3])
	server := option(m, dhcpv4.OptionServerIdentifier)
	ok := from == s.probing && sent == id && server.IsValid() && server != s.config.Link.Addr() && addr(m.YourIPAddr).IsValid()
	return server, ok
}

// watch looks for other servers while this one runs.
func (s *Server) watch(ctx context.Context) {
	every := time.NewTicker(probeEvery)
	defer every.Stop()
	for first := true; ; first = false {
		if !first || !s.gives() { // Start has looked if we give addresses
			others, err := s.look(ctx)
			if ctx.Err() != nil {
				return
			}
			if err := s.judge(others, err); err != nil {
				s.mu.Lock()
				s.tell(err, time.Now())
				s.mu.Unlock()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// judge says what the operator should know of the servers that were found.
func (s *Server) judge(others []netip.Addr, err error) error {
	i := s.config.Link.Name
	switch {
	case err != nil:
		return fmt.Errorf("look for other DHCP servers on %s: %w", i, err)
	case s.gives() && len(others) > 0:
		return fmt.Errorf("another DHCP server answers on %s, %v: stop one of the two, or serve without a range", i, others)
	case !s.gives() && len(others) == 0:
		return fmt.Errorf("no DHCP server answers on %s: machines get no address: serve with a range", i)
	case !s.gives() && len(others) > 1:
		return fmt.Errorf("%d DHCP servers give addresses on %s, %v: stop all but one", len(others), i, others)
	}
	return nil
}
