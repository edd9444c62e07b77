package node

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"ore/node/installing"
	"ore/vnet"
)

// FailedError says that machines are kept whose installation has failed. All
// others of the start run.
type FailedError struct{ Machines []Started }

// Error gives each machine's name, and why it failed. What to do is known to whoever
// keeps them.
func (e *FailedError) Error() string {
	var all []string
	for _, m := range e.Machines {
		all = append(all, "machine "+m.Name+": install: "+m.Failed)
	}
	return strings.Join(all, "\n")
}

// Failed returns a *FailedError of those of the machines that have failed, or nil.
func Failed(all []Started) error {
	e := &FailedError{}
	for _, m := range all {
		if m.Failed != "" {
			e.Machines = append(e.Machines, m)
		}
	}
	if len(e.Machines) == 0 {
		return nil
	}
	return e
}

// keeps says whether a machine is kept whose installer failed, which it can be only
// as long as it runs. One that goes on is kept whatever came between, so that it
// can be asked again.
func (b *batch) keeps(ctx context.Context, m *machine, err error) bool {
	if b.start.Install == nil || !b.start.Install.Keep || m.conn == nil || b.node.ctx.Err() != nil {
		return false
	}
	select {
	case <-m.conn.Done():
		return false
	default:
	}
	var failed *installing.Error
	return b.start.Again || ctx.Err() == nil && errors.As(err, &failed)
}

// failed returns of a start that is to go on only that part which failed.
func (n *Node) failed(s Start) Start {
	n.mu.Lock()
	defer n.mu.Unlock()
	var wanted []Machine
	for _, m := range s.Machines {
		if there := n.machines[m.Name]; there != nil && there.started.Failed != "" && !there.lost() {
			wanted = append(wanted, m)
		}
	}
	s.Machines, s.Size, s.Hosts = wanted, n.last.Size, n.last.Hosts
	return s
}

// take takes a machine that was kept out of the node, and returns its place.
func (b *batch) take(m Machine) place {
	old := b.node.drop(m.Name)
	if b.kept == nil {
		b.kept = map[string]*machine{}
	}
	b.kept[m.Name] = old
	ip, _ := netip.ParseAddr(old.started.IP) // it was given it
	return place{Machine: m, address: vnet.Address{IP: ip}}
}

// resume makes m the machine that was kept.
func (b *batch) resume(m *machine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.kept[m.started.Name]
	delete(b.kept, m.started.Name)
	m.vm, m.conn, m.console, m.before, m.started = old.vm, old.conn, old.console, old.ended, old.started
	m.started.Failed, m.tried = "", m.console.since(m.tried).Next
}
