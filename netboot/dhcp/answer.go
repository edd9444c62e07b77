package dhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ore/netboot/link"
)

// answer decides what a packet gets: a reply, or none. It is called by one
// goroutine at a time. An error is for the operator to hear.
func (s *Server) answer(m *dhcpv4.DHCPv4, port uint16, now time.Time) (*dhcpv4.DHCPv4, error) {
	from, ok := mac(m)
	if m.OpCode != dhcpv4.OpcodeBootRequest || !ok || from == s.probing {
		return nil, nil
	}
	client, booting := boots(m)
	if port == ProxyPort || !s.gives() {
		return s.besides(m, client, booting, port)
	}
	if relay := addr(m.GatewayIPAddr); relay.IsValid() && !s.config.Link.Net.Contains(relay) {
		return nil, fmt.Errorf("relay %s: its network is not that of the range: start a server with a range there", relay)
	}
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		a, err := s.pool.offer(from, option(m, dhcpv4.OptionRequestedIPAddress), now)
		if err != nil {
			return nil, fmt.Errorf("%s: no address: %w: give a larger one", from, err)
		}
		return s.give(m, a, dhcpv4.MessageTypeOffer), nil
	case dhcpv4.MessageTypeRequest:
		return s.request(m, from, now)
	case dhcpv4.MessageTypeDecline:
		a := option(m, dhcpv4.OptionRequestedIPAddress)
		if believed, err := s.pool.decline(from, a, now); err != nil || believed {
			return nil, say(err, "%s: found %s in use by another: it rests for %s", from, a, declineTime)
		}
	case dhcpv4.MessageTypeRelease:
		return nil, s.pool.release(from, addr(m.ClientIPAddr), now)
	case dhcpv4.MessageTypeInform:
		return s.give(m, netip.Addr{}, dhcpv4.MessageTypeAck), nil
	}
	return nil, nil
}

// say returns err, or else a sentence for the operator.
func say(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// request answers a DHCPREQUEST (RFC 2131, section 4.3.2).
func (s *Server) request(m *dhcpv4.DHCPv4, from link.MAC, now time.Time) (*dhcpv4.DHCPv4, error) {
	own := s.config.Link.Addr()
	if chosen := option(m, dhcpv4.OptionServerIdentifier); chosen.IsValid() && chosen != own {
		s.pool.forget(from)
		return nil, fmt.Errorf("another DHCP server, %s, gives addresses here (%s chose it): stop one of the two, or serve without a range", chosen, from)
	}
	wants := option(m, dhcpv4.OptionRequestedIPAddress)
	if current := addr(m.ClientIPAddr); current.IsValid() {
		wants = current // it renews
	}
	has := s.pool.of(from)
	switch {
	case wants.IsValid() && wants == has:
		if err := s.pool.bind(from, now, s.config.Lease); err != nil {
			return nil, err
		}
		return s.give(m, has, dhcpv4.MessageTypeAck), nil
	case !has.IsValid() && s.config.Link.Net.Contains(wants) && !s.pool.gives(wants):
		// An address of this network that is not of the range: another server
		// may have given it, and it is for that one to answer.
		return nil, nil
	}
	no := s.reply(m, dhcpv4.MessageTypeNak)
	return no, nil
}

// besides answers as a ProxyDHCP service does (PXE 2.1, section 2.2.3), and
// at port 4011 as a boot server: those who boot, and with no address.
func (s *Server) besides(m *dhcpv4.DHCPv4, client Client, booting bool, port uint16) (*dhcpv4.DHCPv4, error) {
	kind := m.MessageType()
	if !booting {
		return nil, s.listen(m, kind)
	}
	var as dhcpv4.MessageType
	switch {
	case port == Port && kind == dhcpv4.MessageTypeDiscover:
		as = dhcpv4.MessageTypeOffer
	case port == ProxyPort && (kind == dhcpv4.MessageTypeRequest || kind == dhcpv4.MessageTypeInform):
		as = dhcpv4.MessageTypeAck
	default:
		return nil, s.listen(m, kind)
	}
	client.Addr = addr(m.ClientIPAddr)
	file := s.config.Boot(client)
	if file == "" {
		return nil, nil
	}
	r := s.reply(m, as)
	r.ClientIPAddr = m.ClientIPAddr
	s.file(r, m, client, file)
	return r, nil
}

// listen learns from a client's choice which server gives addresses, where
// this one does not.
func (s *Server) listen(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) error {
	chosen := option(m, dhcpv4.OptionServerIdentifier)
	if s.gives() || kind != dhcpv4.MessageTypeRequest || !chosen.IsValid() || chosen == s.config.Link.Addr() {
		return nil
	}
	if s.other.IsValid() && s.other != chosen {
		before := s.other
		s.other = chosen
		return fmt.Errorf("two DHCP servers give addresses here, %s and %s: stop one of the two", before, chosen)
	}
	s.other = chosen
	return nil
}

// reply begins the answer to m.
func (s *Server) reply(m *dhcpv4.DHCPv4, as dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	own := s.config.Link.Addr().AsSlice()
	r := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: m.HWType, TransactionID: m.TransactionID, Flags: m.Flags,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: m.GatewayIPAddr,
		ClientHWAddr: m.ClientHWAddr, Options: dhcpv4.Options{},
	}
	r.UpdateOption(dhcpv4.OptMessageType(as))
	r.UpdateOption(dhcpv4.OptServerIdentifier(own))
	if id := m.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 && len(id) < 256 {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, id)) // RFC 6842
	}
	return r
}

// give makes an offer or a promise of address a, which is invalid for a client
// that has one of its own.
func (s *Server) give(m *dhcpv4.DHCPv4, a netip.Addr, as dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	r := s.reply(m, as)
	i := s.config.Link
	if a.IsValid() {
		r.YourIPAddr = a.AsSlice()
		r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(s.config.Lease))
		if as == dhcpv4.MessageTypeAck {
			r.ClientIPAddr = m.ClientIPAddr
		}
	} else {
		r.ClientIPAddr = m.ClientIPAddr
		a = addr(m.ClientIPAddr)
	}
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(i.Net.Bits(), 32)))
	r.UpdateOption(dhcpv4.OptBroadcastAddress(i.Broadcast().AsSlice()))
	if s.config.Router.IsValid() {
		r.UpdateOption(dhcpv4.OptRouter(s.config.Router.AsSlice()))
	}
	var dns []net.IP
	for _, d := range s.config.DNS {
		dns = append(dns, d.AsSlice())
	}
	if len(dns) > 0 {
		r.UpdateOption(dhcpv4.OptDNS(dns...))
	}
	from, _ := mac(m)
	if s.config.Name != nil {
		if name := s.config.Name(from); name != "" {
			r.UpdateOption(dhcpv4.OptHostName(name))
		}
	}
	if c, booting := boots(m); booting {
		c.Addr = a
		if file := s.config.Boot(c); file != "" {
			s.file(r, m, c, file)
		}
	}
	return r
}

// maxFileField is the longest name that a DHCP packet's field holds.
const maxFileField = 127

// file adds what the client is to boot.
func (s *Server) file(r, m *dhcpv4.DHCPv4, c Client, file string) {
	own := s.config.Link.Addr().AsSlice()
	if len(file) <= maxFileField {
		r.BootFileName = file
	}
	if c.HTTP {
		// UEFI 2.10, section 24.7.2: the class says that the name is a URL.
		r.UpdateOption(dhcpv4.OptClassIdentifier(httpClass))
		r.UpdateOption(dhcpv4.OptBootFileName(file))
		return
	}
	r.ServerIPAddr = own
	r.UpdateOption(dhcpv4.OptClassIdentifier(pxeClass))
	if m.IsOptionRequested(dhcpv4.OptionBootfileName) || len(file) > maxFileField {
		r.UpdateOption(dhcpv4.OptBootFileName(file))
	}
	if m.IsOptionRequested(dhcpv4.OptionTFTPServerName) {
		r.UpdateOption(dhcpv4.OptTFTPServerName(s.config.Link.Addr().String()))
	}
	if id := m.Options.Get(dhcpv4.GenericOptionCode(optionUUID)); len(id) == 17 {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(optionUUID), id)) // RFC 4578, section 2.3
	}
	// PXE 2.1, table 2-2: tag 6, PXE_DISCOVERY_CONTROL, bit 3: the file that
	// is named here is the one; no boot servers are to be looked for.
	r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionVendorSpecificInformation, []byte{6, 1, 8, 255}))
	if c.Loader && s.gives() {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(ipxeOption), []byte{noProxyOption, 1, 1}))
	}
}

// target says where an answer goes (RFC 2131, section 4.1).
func target(m, r *dhcpv4.DHCPv4, from netip.AddrPort, port uint16) netip.AddrPort {
	if port == ProxyPort && from.Addr().IsValid() && !from.Addr().IsUnspecified() {
		return from
	}
	if relay := addr(m.GatewayIPAddr); relay.IsValid() {
		return netip.AddrPortFrom(relay, Port)
	}
	if a := addr(m.ClientIPAddr); a.IsValid() && r.MessageType() != dhcpv4.MessageTypeNak {
		return netip.AddrPortFrom(a, clientPort)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort)
}

// probe writes a DHCPDISCOVER of a card that there is not.
func probe(m link.MAC, id uint32) []byte {
	p := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: m[:], Options: dhcpv4.Options{},
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
	}
	binary.BigEndian.PutUint32(p.TransactionID[:], id)
	p.SetBroadcast()
	p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeDiscover))
	return p.ToBytes()
}
