package vnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"ore"
	"ore/vnet/ethernet"
)

// Sizes of IP packets.
const (
	// DefaultMTU makes a frame, with what kernels put around it, just fit 16 KiB:
	// guests' drivers take their buffers in powers of two, so that 9,000 would
	// cost as much memory. BenchmarkRealMachines shows what the size is worth:
	// each frame costs about the same, and above 16 KiB guests have to find
	// larger pieces of memory, and get slower again.
	DefaultMTU = 15872
	minMTU     = 576 // RFC 791: what every host takes
	// maxMTU makes the size of a frame fit 16 bits, as links to other hosts tell it.
	maxMTU = 65535 - ethernet.Slack
)

// DefaultDomain is the domain of machine names where the configuration names
// none; "internal" is reserved for private use.
const DefaultDomain = "ore.internal"

// Config says what a network is like. The zero value is an isolated network.
type Config struct {
	Subnet    netip.Prefix     // IPv4; the zero value takes one in 10/8 that the host does not use
	Policy    ore.Network      // NAT or Isolated; "" is Isolated
	Allow     []Allowance      // addresses that are open in spite of the policy
	Machines  int              // at most so many at once; 0 means what the subnet holds
	MTU       int              // of IP packets; 0 means DefaultMTU
	Socket    int              // unix.SOCK_SEQPACKET (when 0) or unix.SOCK_DGRAM
	Domain    string           // of machine names; "" means DefaultDomain
	Resolvers []netip.AddrPort // where other names are asked; none means those of /etc/resolv.conf
	Log       *slog.Logger     // nil means silent
}

// Network is the private network of one job. All methods may be called by
// several goroutines.
type Network struct {
	config   Config
	subnet   subnet
	policy   *policy
	log      *slog.Logger
	plane    *ethernet.Switch
	gateway  *link
	stack    *stack.Stack
	names    *names
	upstream upstream
	flows    flows
	buffers  buffers

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex // guards the rest
	closed  bool
	ports   map[string]*ethernet.Port // by the machine's name
	remote  map[string]*Trunk         // machines on other hosts, and through which trunk
	closers map[io.Closer]struct{}    // what Close must close so that running ends
}

// Address is what a machine needs to know to take part.
type Address struct {
	MAC     net.HardwareAddr
	IP      netip.Addr
	Prefix  netip.Prefix // IP with the length of the subnet
	Gateway netip.Addr
	DNS     netip.Addr
	Domain  string
	MTU     int
}

// Errors of a network.
var (
	ErrClosed   = errors.New("network is closed")
	ErrNoSuch   = errors.New("no such machine on the network")
	ErrAttached = errors.New("machine is attached already")
	ErrCrowded  = errors.New("network has no room for another machine")

	// ErrElsewhere is for a machine that runs on another host, as a trunk was told.
	ErrElsewhere = errors.New("machine is on another host")
)

// New returns a network without machines.
func New(c Config) (*Network, error) {
	n, err := newNetwork(c)
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	return n, nil
}

func newNetwork(c Config) (*Network, error) {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < minMTU || c.MTU > maxMTU {
		return nil, fmt.Errorf("mtu %d: not between %d and %d", c.MTU, minMTU, maxMTU)
	}
	if c.Socket == 0 {
		c.Socket = unix.SOCK_SEQPACKET
	}
	if c.Domain == "" {
		c.Domain = DefaultDomain
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	s, err := chooseSubnet(c.Subnet, prefixes(list))
	if err != nil {
		return nil, err
	}
	if c.Machines <= 0 || c.Machines > s.machines() {
		c.Machines = s.machines()
	}
	p, err := newPolicy(c, s)
	if err != nil {
		return nil, err
	}
	n := &Network{
		config: c, subnet: s, policy: p, log: c.Log,
		plane:    ethernet.NewSwitch(c.MTU),
		names:    newNames(c.Domain, s),
		upstream: upstream{fixed: c.Resolvers, file: resolvConf},
		ports:    map[string]*ethernet.Port{},
		remote:   map[string]*Trunk{},
		closers:  map[io.Closer]struct{}{},
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.start(); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// start sets the gateway up.
func (n *Network) start() error {
	id := identity(n.subnet.gateway())
	id.Router = true
	var err error
	if n.gateway, err = newLink(n.plane, id, n.config.MTU, n.screen); err != nil {
		return err
	}
	if n.stack, err = newStack(n.gateway, netip.PrefixFrom(n.subnet.gateway(), n.subnet.prefix.Bits())); err != nil {
		return err
	}
	// The gateway takes packets for any address and answers in that address's
	// name: this is what makes it a NAT.
	if err := n.stack.SetPromiscuousMode(nic, true); err != nil {
		return fmt.Errorf("gateway: %v", err)
	}
	if err := n.stack.SetSpoofing(nic, true); err != nil {
		return fmt.Errorf("gateway: %v", err)
	}
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, n.newTCPHandler())
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, n.newUDPHandler())
	return n.serveDNS()
}

// Gateway returns the address at which machines find Listen's ports.
func (n *Network) Gateway() netip.Addr { return n.subnet.gateway() }

// Prefix returns the network's subnet.
func (n *Network) Prefix() netip.Prefix { return n.subnet.prefix }

// Attach adds the machine name and returns the machine's end of its connection:
// a packet socket on which each packet is one Ethernet frame. The caller gives
// it to the hypervisor and closes it.
func (n *Network) Attach(name string) (*os.File, Address, error) {
	return n.plug(name, func() (netip.Addr, error) {
		return n.names.reserve(name, n.taken)
	})
}

// AttachAt is Attach with the address that belongs to a rank, so that the
// networks of several hosts agree on it without asking each other.
func (n *Network) AttachAt(name string, rank int) (*os.File, Address, error) {
	return n.plug(name, func() (netip.Addr, error) {
		ip, err := AddressOf(n.subnet.prefix, rank)
		if err != nil {
			return ip, err
		}
		if old, ok := n.names.byAddress(ip); ok && old != name && n.taken(old) {
			return ip, fmt.Errorf("address %v: %w: it is that of %s", ip, ethernet.ErrTaken, old)
		}
		n.names.fix(name, ip)
		return ip, nil
	})
}

// taken reports whether a name is that of a machine that is there. It is called
// with the network locked.
func (n *Network) taken(name string) bool { return n.ports[name] != nil || n.remote[name] != nil }

// plug attaches a machine with the address that choose returns; choose is called
// with the network locked.
func (n *Network) plug(name string, choose func() (netip.Addr, error)) (*os.File, Address, error) {
	ours, theirs, err := ethernet.Pair(n.config.Socket)
	if err != nil {
		return nil, Address{}, fmt.Errorf("attach %s: %w", name, err)
	}
	a, err := n.attach(name, ours, choose)
	if err != nil {
		ours.Close()
		theirs.Close()
		return nil, Address{}, fmt.Errorf("attach %s: %w", name, err)
	}
	return theirs, a, nil
}

func (n *Network) attach(name string, ours *os.File, choose func() (netip.Addr, error)) (Address, error) {
	if err := checkName(name); err != nil {
		return Address{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return Address{}, ErrClosed
	case n.ports[name] != nil:
		return Address{}, ErrAttached
	case n.remote[name] != nil:
		return Address{}, ErrElsewhere
	case len(n.ports) >= n.config.Machines:
		return Address{}, fmt.Errorf("%w: %d are attached", ErrCrowded, len(n.ports))
	}
	ip, err := choose()
	if err != nil {
		return Address{}, err
	}
	id := identity(ip)
	port, err := n.plane.PlugSocket(id, ours)
	if err != nil {
		return Address{}, err
	}
	n.ports[name] = port
	// The gateway need not ask who has the address, and nobody can tell it wrong.
	n.stack.AddStaticNeighbor(nic, ipv4.ProtocolNumber, tcpip.AddrFrom4(id.IP), tcpip.LinkAddress(id.MAC[:]))
	return Address{
		MAC: net.HardwareAddr(id.MAC[:]), IP: ip,
		Prefix:  netip.PrefixFrom(ip, n.subnet.prefix.Bits()),
		Gateway: n.subnet.gateway(), DNS: n.subnet.gateway(),
		Domain: n.config.Domain, MTU: n.config.MTU,
	}, nil
}

// Detach removes a machine and resets its connections with this process and,
// through it, with the outside. Its name keeps its address, for when it comes
// back.
// Detaching what is not attached does nothing.
func (n *Network) Detach(name string) {
	n.mu.Lock()
	port := n.ports[name]
	delete(n.ports, name)
	n.mu.Unlock()
	if port == nil {
		return
	}
	port.Unplug()
	// A machine that is gone closes nothing: what it had open would stay until
	// some timer notices.
	gone := tcpip.AddrFrom4(port.Identity().IP)
	for _, e := range n.stack.RegisteredEndpoints() {
		if ep, ok := e.(tcpip.Endpoint); ok {
			if remote, err := ep.GetRemoteAddress(); err == nil && remote.Addr == gone {
				ep.Abort()
			}
		}
	}
}

// Machine returns the name that has an address, for telling who connected.
func (n *Network) Machine(a netip.Addr) (string, bool) { return n.names.byAddress(a) }

// Impair makes a machine's connection worse, for tests.
func (n *Network) Impair(name string, i ethernet.Impairment) error {
	n.mu.Lock()
	port := n.ports[name]
	n.mu.Unlock()
	if port == nil {
		return fmt.Errorf("impair %s: %w", name, ErrNoSuch)
	}
	port.Impair(i)
	return nil
}

// Close ends all connections and detaches all machines. It returns when nothing
// of the network runs any more.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		n.running.Wait()
		return nil
	}
	n.closed = true
	closers := n.closers
	n.closers = nil
	n.ports = nil
	n.remote = nil
	n.mu.Unlock()
	n.cancel()
	for c := range closers {
		c.Close() // what is cut off here has no one left to hear of it
	}
	if n.stack != nil {
		n.stack.Close()
	}
	n.running.Wait()
	n.plane.Close()
	if n.stack != nil {
		n.stack.Wait()
	}
	return nil
}

// hold has Close close c, unless the returned function is called before. It
// reports false, and closes c, when the network is closed.
func (n *Network) hold(c io.Closer) (drop func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		c.Close()
		return nil, false
	}
	n.closers[c] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.closers, c)
	}, true
}

// launch runs f in a goroutine that Close waits for. It reports false when the
// network is closed.
func (n *Network) launch(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.running.Go(f)
	return true
}
