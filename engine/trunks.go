package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"ore/node"
	"ore/node/agent"
	"ore/vnet"
	"ore/vnet/trunk"
)

// spread is which machines are on which hosts.
type spread map[*host][]vnet.Remote

// spread returns where the machines are, of those hosts that can be used.
func (e *Engine) spread() (spread, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := spread{}
	for rank := range e.wanted.Machines.Count {
		name := e.name(rank)
		h := e.where[name]
		if h == nil || h.fault() != nil {
			continue
		}
		ip, err := vnet.AddressOf(e.subnet, rank)
		if err != nil {
			return nil, fmt.Errorf("join hosts: %w", err)
		}
		all[h] = append(all[h], vnet.Remote{Name: name, IP: ip})
	}
	return all, nil
}

// join joins the job's networks on its hosts to one: each opens a port, is told
// the ports of all others and who is behind them, and where commands for
// machines there go. It is done again when machines have moved.
func (e *Engine) join(ctx context.Context) error {
	e.joining.Lock()
	defer e.joining.Unlock()
	all, err := e.spread()
	if err != nil || len(all) < 2 && !e.joined {
		return err
	}
	if err := e.openPorts(ctx, all); err != nil {
		return err
	}
	e.joined = true
	var g errgroup.Group
	for h := range all {
		g.Go(func() error {
			if h.fault() != nil {
				return nil
			}
			if err := e.introduce(ctx, h, all); err != nil && ctx.Err() == nil {
				h.suspect(ctx, err)
			}
			return nil
		})
	}
	_ = g.Wait() // their errors are the hosts'
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// openPorts has each host open the port of its links, if it has none.
func (e *Engine) openPorts(ctx context.Context, all spread) error {
	var g errgroup.Group
	for h := range all {
		if h.links.IsValid() {
			continue
		}
		g.Go(func() error {
			at, err := h.address()
			if err == nil {
				var j node.Joined
				j, err = h.job.SetTrunks(ctx, node.Trunks{Network: e.network, Subnet: e.subnet, ID: h.id, Listen: netip.AddrPortFrom(at, 0)})
				h.links = j.Address
			}
			if err != nil && ctx.Err() == nil {
				h.suspect(ctx, err)
			}
			return nil
		})
	}
	_ = g.Wait() // their errors are the hosts'
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// introduce tells one host of all others.
func (e *Engine) introduce(ctx context.Context, h *host, all spread) error {
	t := node.Trunks{Network: e.network, Subnet: e.subnet, ID: h.id, Listen: h.links}
	peers := agent.Peers{}
	for other, machines := range all {
		if other == h || other.fault() != nil {
			continue
		}
		t.Peers = append(t.Peers, trunk.Peer{ID: other.id, Key: trunk.PairKey(e.secret, h.id, other.id), Address: other.links, Machines: machines})
		for _, m := range machines {
			peers[m.Name] = agent.Peer{Addr: other.agent.Addr(), Name: other.agent.Name()}
		}
	}
	if _, err := h.job.SetTrunks(ctx, t); err != nil {
		return err
	}
	return h.job.Meet(ctx, peers)
}

// address is where the others reach the host.
func (h *host) address() (netip.Addr, error) {
	at := h.agent.At()
	if !at.IsValid() {
		return at, fmt.Errorf("join hosts: %s has no address: %w", h.agent.Addr(), net.UnknownNetworkError("none"))
	}
	return at, nil
}
