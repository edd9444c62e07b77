package vnet

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
)

// gatewayName is the name of the gateway in DNS.
const gatewayName = "gateway"

// names is which machine has which address. A name keeps its address until
// another name needs it.
type names struct {
	domain string // lower case, without dots at its ends
	subnet subnet

	mu     sync.RWMutex // guards the rest
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
	next   int // the first offset that nobody has had
}

func newNames(domain string, s subnet) *names {
	n := &names{
		domain: strings.Trim(strings.ToLower(domain), "."), subnet: s, next: firstMachine,
		byName: map[string]netip.Addr{}, byAddr: map[netip.Addr]string{},
	}
	n.byName[gatewayName], n.byAddr[s.gateway()] = s.gateway(), gatewayName
	return n
}

// checkName says whether a machine can be found under a name: RFC 1123, 2.1,
// one label, in lower case.
func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= 63 && name != gatewayName && name != "localhost"
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = ok && (letter || c == '-' && i > 0 && i < len(name)-1)
	}
	if !ok {
		return fmt.Errorf("name %q: not 1 to 63 lower-case letters, digits and inner hyphens, or reserved", name)
	}
	return nil
}

// reserve returns the address of a name: the one it has, one that nobody has
// had, or one whose name is not in use any more.
func (n *names) reserve(name string, used func(name string) bool) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.byName[name]; ok {
		return a, nil
	}
	for n.next < firstMachine+n.subnet.machines() {
		a := n.subnet.at(n.next)
		n.next++
		if _, fixed := n.byAddr[a]; fixed {
			continue
		}
		n.byName[name], n.byAddr[a] = a, name
		return a, nil
	}
	for offset := firstMachine; offset < n.next; offset++ {
		a := n.subnet.at(offset)
		if old := n.byAddr[a]; !used(old) {
			delete(n.byName, old)
			n.byName[name], n.byAddr[a] = a, name
			return a, nil
		}
	}
	return netip.Addr{}, ErrCrowded
}

// fix gives a name an address that was chosen elsewhere. Whoever had the name or
// the address before loses it.
func (n *names) fix(name string, a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byAddr, n.byName[name])
	delete(n.byName, n.byAddr[a])
	n.byName[name], n.byAddr[a] = a, name
}

// address returns the address of a name.
func (n *names) address(name string) (netip.Addr, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	a, ok := n.byName[name]
	return a, ok
}

// byAddress returns the name of an address.
func (n *names) byAddress(a netip.Addr) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	name, ok := n.byAddr[a]
	return name, ok
}

// local returns the machine's part of a DNS name if answering for it is ours:
// names of one label and those in our domain. The name is as in a question,
// with a dot at the end, in any case.
func (n *names) local(question string) (label string, ours bool) {
	q := strings.TrimSuffix(strings.ToLower(question), ".")
	if rest, ok := strings.CutSuffix(q, "."+n.domain); ok {
		return rest, true
	}
	return q, q == n.domain || !strings.Contains(q, ".")
}

// reverseZone is where addresses are names (RFC 1035, 3.5).
const reverseZone = ".in-addr.arpa."

// reverse returns the address that a DNS name of the reverse zone stands for,
// if it is one of the subnet's.
func (n *names) reverse(question string) (netip.Addr, bool) {
	q, ok := strings.CutSuffix(strings.ToLower(question), reverseZone)
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(q, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return a, err == nil && n.subnet.prefix.Contains(a)
}
