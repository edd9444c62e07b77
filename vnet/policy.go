package vnet

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"ore"
)

// Allowance opens one address to machines, whatever the policy says of it.
type Allowance struct {
	// From is what machines connect to. The zero value means To itself, or,
	// when To is a loopback address (which for a machine is itself), the same
	// port of the gateway.
	From netip.AddrPort
	// To is where this process connects to for them.
	To netip.AddrPort
}

// policy decides where connections of machines may go.
type policy struct {
	network ore.Network
	own     netip.Prefix // the network's subnet
	allow   map[netip.AddrPort]netip.AddrPort
	host    hostAddresses
}

func newPolicy(c Config, s subnet) (*policy, error) {
	p := &policy{network: c.Policy, own: s.prefix, allow: map[netip.AddrPort]netip.AddrPort{}}
	p.host.list = net.InterfaceAddrs
	switch c.Policy {
	case "":
		p.network = ore.Isolated
	case ore.NAT, ore.Isolated:
	default:
		return nil, fmt.Errorf("policy %q: neither %q nor %q", c.Policy, ore.NAT, ore.Isolated)
	}
	for _, a := range c.Allow {
		if !a.From.IsValid() {
			a.From = a.To
			if a.To.Addr().IsLoopback() {
				a.From = netip.AddrPortFrom(s.gateway(), a.To.Port())
			}
		}
		if !a.To.IsValid() || !a.From.Addr().Is4() || a.From.Port() == 0 || a.To.Port() == 0 {
			return nil, fmt.Errorf("allow %v -> %v: not two addresses with ports, the first of them IPv4", a.From, a.To)
		}
		if a.From == netip.AddrPortFrom(s.gateway(), dnsPort) {
			return nil, fmt.Errorf("allow %v: this is where the network's DNS is", a.From)
		}
		p.allow[a.From] = a.To
	}
	return p, nil
}

// never lists what no machine is let through to: what means the host itself or
// its links, services that trust whoever is on the host (metadata and agents
// of clouds, some of which live outside link-local space), and addresses that
// do not name one other host (RFC 6890).
func never() []netip.Prefix {
	var list []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
		"100.100.100.200/32", // Alibaba's metadata
		"168.63.129.16/32",   // Azure's host agent
		"192.0.0.0/24",       // IETF protocol assignments; Oracle's metadata is 192.0.0.192
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// decide returns what to connect to when a machine wants dst.
func (p *policy) decide(dst netip.AddrPort) (to netip.AddrPort, ok bool) {
	if to, ok := p.allow[dst]; ok {
		return to, true
	}
	return dst, p.reaches(dst.Addr()) && dst.Port() != 0
}

// reaches reports whether machines may send to a, on ports in general.
func (p *policy) reaches(a netip.Addr) bool {
	if p.network != ore.NAT || !a.Is4() || p.own.Contains(a) {
		return false
	}
	for _, n := range never() {
		if n.Contains(a) {
			return false
		}
	}
	return !p.host.contains(a)
}

// hostAddressesAge is how old the list of the host's addresses may be. Reading
// it costs about 0.1 ms, too much for each packet of a port scan.
const hostAddressesAge = time.Second

// hostAddresses knows the addresses of the host's interfaces, and the broadcast
// addresses of its links.
type hostAddresses struct {
	list func() ([]net.Addr, error)

	mu   sync.Mutex // guards the rest
	read time.Time
	set  map[netip.Addr]bool // nil when they could not be read
}

// contains reports whether a is the host's own. When that cannot be found out,
// it says yes.
func (h *hostAddresses) contains(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.set == nil || time.Since(h.read) > hostAddressesAge {
		h.set = nil
		if list, err := h.list(); err == nil {
			h.set, h.read = hostSet(prefixes(list)), time.Now()
		}
	}
	return h.set == nil || h.set[a]
}

// prefixes returns the IPv4 addresses with the lengths of their networks.
func prefixes(list []net.Addr) []netip.Prefix {
	var ps []netip.Prefix
	for _, l := range list {
		if p, err := netip.ParsePrefix(l.String()); err == nil && p.Addr().Is4() {
			ps = append(ps, p)
		}
	}
	return ps
}

func hostSet(ps []netip.Prefix) map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	for _, p := range ps {
		set[p.Addr()] = true
		if p.Bits() < 31 { // RFC 3021: smaller networks have no broadcast address
			s := subnet{p.Masked()}
			set[s.at(0)] = true
			set[s.broadcast()] = true
		}
	}
	return set
}
