package vnet

import (
	"fmt"
	"net"
	"net/netip"

	"ore/vnet/ethernet"
)

// Remote is a machine of the same network that runs on another host.
type Remote struct {
	Name string
	IP   netip.Addr
}

// Trunk is a network's end of the link to another host's network of the same
// job and subnet; see [ethernet.Trunk] for what may pass. Package trunk makes
// the links.
type Trunk struct {
	port    *ethernet.Trunk
	network *Network
}

// PlugTrunk adds the end of a link to another host. Frames for machines there
// are given to out, which owns them and must not block; what comes from there
// goes to the trunk's Input.
func (n *Network) PlugTrunk(out ethernet.Outlet) (*Trunk, error) {
	t, err := n.plane.PlugTrunk(out)
	if err != nil {
		return nil, err
	}
	return &Trunk{port: t, network: n}, nil
}

// Input takes a frame that came from the other host, checks it and sends it on.
// It takes over one reference and does not block.
func (t *Trunk) Input(f *ethernet.Frame) { t.port.Input(f) }

// Stats returns what was counted for the machines behind the trunk.
func (t *Trunk) Stats() ethernet.Stats { return t.port.Stats() }

// Unplug takes the trunk and the machines behind it out of the network, closes
// its outlet where that is an io.Closer, and waits for it.
func (t *Trunk) Unplug() {
	t.network.mu.Lock()
	t.network.forget(t)
	t.network.mu.Unlock()
	t.port.Unplug()
}

// forget removes the machines behind t.
func (n *Network) forget(t *Trunk) {
	for name, k := range n.remote {
		if k == t {
			delete(n.remote, name)
		}
	}
}

// Set says who is behind the trunk from now on, all or nothing. The
// names are known to DNS as those of machines here are, and like them keep
// their addresses when their machines go.
func (t *Trunk) Set(machines []Remote) error {
	n := t.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("machines of a trunk: %w", ErrClosed)
	}
	ids := make([]ethernet.Identity, 0, len(machines))
	for _, m := range machines {
		if err := n.checkRemote(t, m); err != nil {
			return fmt.Errorf("machine %s of a trunk: %w", m.Name, err)
		}
		ids = append(ids, identity(m.IP))
	}
	if err := t.port.Set(ids); err != nil {
		return err
	}
	n.forget(t)
	for _, m := range machines {
		n.names.fix(m.Name, m.IP)
		n.remote[m.Name] = t
	}
	return nil
}

// checkRemote says whether a machine may be behind t: its name must be in use
// neither here nor behind another trunk. Addresses are checked by the switch.
func (n *Network) checkRemote(t *Trunk, m Remote) error {
	if err := checkName(m.Name); err != nil {
		return err
	}
	if n.ports[m.Name] != nil {
		return ErrAttached
	}
	if k := n.remote[m.Name]; k != nil && k != t {
		return ErrElsewhere
	}
	if !n.subnet.holds(m.IP) {
		return fmt.Errorf("address %v: not one of a machine in %v", m.IP, n.subnet.prefix)
	}
	return nil
}

// Pool returns where frames for a trunk's Input come from.
func (n *Network) Pool() *ethernet.Pool { return n.plane.Pool() }

// AddressOf returns the address of the machine with a rank, counted from 0, in
// a network that [Network.AttachAt] was used for.
func AddressOf(prefix netip.Prefix, rank int) (netip.Addr, error) {
	s, err := chooseSubnet(prefix, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	if !prefix.IsValid() || rank < 0 || rank >= s.machines() {
		return netip.Addr{}, fmt.Errorf("rank %d in %v: %w", rank, prefix, ErrCrowded)
	}
	return s.at(firstMachine + rank), nil
}

// ChooseSubnet returns a subnet for a network that spans hosts: one that is
// apart from all that any of them uses.
func ChooseSubnet(used []netip.Prefix) (netip.Prefix, error) {
	s, err := chooseSubnet(netip.Prefix{}, used)
	return s.prefix, err
}

// UsedSubnets returns the IPv4 networks that this host is part of, for
// ChooseSubnet.
func UsedSubnets() ([]netip.Prefix, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	return prefixes(list), nil
}
