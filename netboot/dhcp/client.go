package dhcp

import (
	"bytes"
	"encoding/hex"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ore/netboot/link"
)

// Arch is the kind of firmware that a machine boots with (RFC 4578, section
// 2.1, and IANA's registry of processor architecture types).
type Arch uint16

// The kinds that there are files for. The registry calls 7 x64 and 9 EBC since
// the RFC's erratum 2625; firmware of both readings is x86-64.
const (
	BIOS     Arch = 0
	UEFI     Arch = 7
	UEFIOld  Arch = 9
	UEFIHTTP Arch = 16
	// NoArch stands for a client that does not say.
	NoArch Arch = 0xffff
)

// String returns a word for people.
func (a Arch) String() string {
	switch a {
	case BIOS:
		return "BIOS"
	case UEFI, UEFIOld:
		return "UEFI"
	case UEFIHTTP:
		return "UEFI over HTTP"
	case NoArch:
		return "unknown"
	}
	return "architecture " + hex.EncodeToString([]byte{byte(a >> 8), byte(a)})
}

// Client is a machine that asks what to boot.
type Client struct {
	MAC    link.MAC
	Arch   Arch
	Loader bool       // it is iPXE that asks: it understands scripts and URLs
	HTTP   bool       // the firmware takes URLs only (UEFI HTTP boot)
	UUID   string     // of the machine, 32 hex digits, or "" (RFC 4578, section 2.3)
	Addr   netip.Addr // its address, where this server gave or saw it
}

const (
	pxeClass  = "PXEClient"
	httpClass = "HTTPClient"
	// ipxeOption is 175, which iPXE uses for options of its own; that it is
	// there says who asks (ipxe.org/howto/dhcpd).
	ipxeOption = 175
	// noProxyOption, in option 175, tells iPXE not to wait for a ProxyDHCP answer.
	noProxyOption = 176
	// optionUUID is the client's machine identifier (RFC 4578).
	optionUUID = 97
)

// mac returns the hardware address of a request that is from one Ethernet card.
func mac(m *dhcpv4.DHCPv4) (link.MAC, bool) {
	var a link.MAC
	if m.HWType != 1 || len(m.ClientHWAddr) != len(a) {
		return a, false
	}
	copy(a[:], m.ClientHWAddr)
	return a, a.One()
}

// boots says whether the client boots from the network, and reads who it is.
func boots(m *dhcpv4.DHCPv4) (Client, bool) {
	class := m.Options.Get(dhcpv4.OptionClassIdentifier)
	c := Client{HTTP: bytes.HasPrefix(class, []byte(httpClass)), Arch: NoArch}
	if !c.HTTP && !bytes.HasPrefix(class, []byte(pxeClass)) {
		return Client{}, false
	}
	c.MAC, _ = mac(m)
	if a := m.Options.Get(dhcpv4.OptionClientSystemArchitectureType); len(a) >= 2 {
		c.Arch = Arch(a[0])<<8 | Arch(a[1])
	}
	// RFC 3004 puts a length before each class; iPXE sends its name alone.
	user := m.Options.Get(dhcpv4.OptionUserClassInformation)
	c.Loader = string(user) == "iPXE" || string(user) == "\x04iPXE" || m.Options.Has(dhcpv4.GenericOptionCode(ipxeOption))
	if u := m.Options.Get(dhcpv4.GenericOptionCode(optionUUID)); len(u) == 17 && u[0] == 0 {
		c.UUID = hex.EncodeToString(u[1:])
	}
	return c, true
}

// addr returns an address of a packet; the invalid one for 0.0.0.0.
func addr(ip []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !ok || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// option returns an address that an option holds.
func option(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) netip.Addr {
	if b := m.Options.Get(code); len(b) == 4 {
		return addr(b)
	}
	return netip.Addr{}
}
