package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"ore"
	"ore/image"
	"ore/node/ports"
	"ore/vm"
	"ore/vnet"
	"ore/vnet/trunk"
)

// Config is what a node works with.
type Config struct {
	Dir        string                            // existing folder of this job alone, for disks and sockets; emptied by Release
	Store      *image.Store                      // holds the layers
	Hypervisor func(Boot) (vm.Hypervisor, error) // the driver for what a start asks
	Log        *slog.Logger                      // nil means silent
}

// Node is this host's part of one job. Its methods may be called concurrently.
type Node struct {
	config Config
	log    *slog.Logger
	ctx    context.Context // the life of all machines
	cancel context.CancelFunc

	starting sync.Mutex // one Start at a time
	trunking sync.Mutex // one SetTrunks at a time

	mu       sync.Mutex // guards what follows
	network  *vnet.Network
	mesh     *trunk.Mesh // links to the job's other hosts, if it has any
	policy   ore.Network
	machines map[string]*machine
	holds    []func() // of layers
	last     Start    // the latest, which knows all machines of the job
	released chan struct{}
	gone     bool
}

// New returns a node without machines.
func New(c Config) *Node {
	n := &Node{config: c, log: c.Log, machines: map[string]*machine{}, released: make(chan struct{})}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Released is closed once Release has ended everything.
func (n *Node) Released() <-chan struct{} { return n.released }

// join returns the job's network, making it at the first start.
func (n *Node) join(s Start) (*vnet.Network, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return nil, errors.New("the job was released")
	}
	if n.network != nil {
		return n.network, nil
	}
	c := vnet.Config{Subnet: s.Subnet, Policy: s.Network, Log: n.log}
	for _, to := range s.Allow {
		c.Allow = append(c.Allow, vnet.Allowance{To: to})
	}
	network, err := vnet.New(c)
	if err != nil {
		return nil, err
	}
	n.network, n.policy = network, s.Network
	return network, nil
}

// lookup returns the machine called name.
func (n *Node) lookup(name string) (*machine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m, ok := n.machines[name]
	if !ok {
		return nil, fmt.Errorf("machine %q: %w: see 'ore jobs show' for the machines of a job", name, ErrUnknown)
	}
	return m, nil
}

// Machines lists the machines that were started, by rank.
func (n *Node) Machines() []Started {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []Started
	for _, m := range n.machines {
		s := m.started
		if m.lost() {
			s.Lost = why(m.cause).Error()
		}
		all = append(all, s)
	}
	sortStarted(all)
	return all
}

// Release ends all machines and the network, and removes their files. It may be
// called more than once.
func (n *Node) Release() error {
	n.cancel()
	n.starting.Lock() // wait for a start under way, which ctx has ended
	defer n.starting.Unlock()
	n.mu.Lock()
	if n.gone {
		n.mu.Unlock()
		<-n.released
		return nil
	}
	n.gone = true
	machines, network, mesh, holds := n.machines, n.network, n.mesh, n.holds
	n.machines, n.network, n.mesh, n.holds = map[string]*machine{}, nil, nil, nil
	n.mu.Unlock()
	defer close(n.released)
	err := endAll(machines)
	if mesh != nil {
		err = errors.Join(err, mesh.Close())
	}
	if network != nil {
		err = errors.Join(err, network.Close())
	}
	for _, release := range holds {
		release()
	}
	return errors.Join(err, n.sweep())
}

// endAll ends machines beside each other.
func endAll(machines map[string]*machine) error {
	errs := make(chan error, len(machines))
	for _, m := range machines {
		go func() { errs <- m.end() }()
	}
	var all []error
	for range machines {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// sweep removes what machines left in the job's folder.
func (n *Node) sweep() error {
	list, err := os.ReadDir(n.config.Dir)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	var errs []error
	for _, e := range list {
		if strings.HasPrefix(e.Name(), machineFolder) {
			errs = append(errs, os.RemoveAll(filepath.Join(n.config.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Put unpacks a tar stream in dir of a machine.
func (n *Node) Put(ctx context.Context, name, dir string, tar io.Reader) error {
	m, err := n.lookup(name)
	if err != nil {
		return err
	}
	return m.conn.Put(ctx, dir, tar)
}

// Get writes what matches patterns in dir of a machine to w as a tar stream.
func (n *Node) Get(ctx context.Context, name, dir string, patterns []string, w io.Writer) error {
	m, err := n.lookup(name)
	if err != nil {
		return err
	}
	return m.conn.Get(ctx, dir, patterns, w)
}

// Console returns what a machine's console said from a byte on, as far as that is
// kept: its beginning and its end are.
func (n *Node) Console(name string, from int64) (Said, error) {
	m, err := n.lookup(name)
	if err != nil {
		return Said{}, err
	}
	return m.console.since(from), nil
}

// Publish makes a machine's port reachable on the host until release, and
// returns the port with the address that it really has.
func (n *Node) Publish(p ore.Port) (ore.Port, error) {
	n.mu.Lock()
	network := n.network
	n.mu.Unlock()
	if network == nil {
		return p, errors.New("publish: no machine was started")
	}
	l, err := ports.Listen(p.Listen)
	if err != nil {
		return p, err
	}
	published, err := network.Publish(l, machineName(p.Rank), p.Port)
	if err != nil {
		return p, err
	}
	p.Listen = published.Addr().String()
	return p, nil
}
