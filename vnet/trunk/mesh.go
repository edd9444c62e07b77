package trunk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ore/vnet"
	"ore/vnet/ethernet"
	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

// Limits of what strangers can have a mesh hold.
const (
	// maxStrangers is how many TCP connections may be open that have not said
	// yet whose they are; each costs a descriptor and a goroutine.
	maxStrangers = 32
	// strangerTime is how long they may take for it.
	strangerTime = 5 * time.Second
	// listenTries is how many free TCP ports are tried until one is free for UDP
	// as well.
	listenTries = 16
	// maxPeers is far more hosts than anyone has joined, each with a socket.
	maxPeers = 4096
)

// Key is a secret of a job or of a pair of its hosts.
type Key = seal.Key

// NewKey makes the key of a job.
func NewKey() Key { return seal.NewKey() }

// PairKey derives from a job's key the key of the link between two of its hosts,
// in whatever order they are named. Whoever holds the job's key gives each host
// the keys of its own links only, so that none can speak for another.
func PairKey(job Key, a, b string) Key { return seal.PairKey(job, a, b) }

// Config says whose mesh it is.
type Config struct {
	Network *vnet.Network  // whose machines are joined; its owner closes it after the mesh
	ID      string         // of this host in the job
	Listen  netip.AddrPort // for UDP and TCP: an address of this host, or an unspecified one; port 0 takes a free one
	Log     *slog.Logger   // nil means silent
}

// Peer is another host of the job.
type Peer struct {
	ID       string
	Key      Key            // of the pair; see PairKey
	Address  netip.AddrPort // where its mesh listens
	Machines []vnet.Remote  // what runs there
}

// Mesh is one host's links to the other hosts of a job. Its methods may be
// called by several goroutines.
type Mesh struct {
	config   Config
	log      *slog.Logger
	address  netip.AddrPort
	listener *net.TCPListener
	port     *net.UDPConn // keeps the port; nothing is read from it
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup // who accepts, and strangers

	setting sync.Mutex // one Set at a time; taken before mu

	mu        sync.Mutex // guards the rest
	closed    bool
	peers     map[string]*member
	strangers map[net.Conn]bool
}

// member is a peer and the link to it.
type member struct {
	peer  Peer
	link  *link
	trunk *vnet.Trunk
}

// ErrClosed is for what is asked of a mesh that was closed.
var ErrClosed = errors.New("the links to other hosts are closed")

// ErrNoPeer is for a host that the mesh was not told of.
var ErrNoPeer = errors.New("no such host of the job")

// New opens the port of a mesh without peers.
func New(c Config) (*Mesh, error) {
	m := &Mesh{config: c, log: c.Log, peers: map[string]*member{}, strangers: map[net.Conn]bool{}}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if err := m.listen(); err != nil {
		m.cancel()
		return nil, fmt.Errorf("join networks at %v: %w", c.Listen, err)
	}
	m.running.Go(m.accept)
	return m, nil
}

// family is that of the addresses of a mesh, as package net names it.
func family(network string, a netip.Addr) string {
	if a.Unmap().Is4() {
		return network + "4"
	}
	return network + "6"
}

// listen opens one port for TCP and UDP.
func (m *Mesh) listen() error {
	at := m.config.Listen
	if !at.IsValid() {
		return errors.New("no address to listen at")
	}
	var err error
	for range listenTries {
		var l net.Listener
		if l, err = net.Listen(family("tcp", at.Addr()), at.String()); err != nil {
			return err
		}
		m.listener = l.(*net.TCPListener)
		m.address = netip.AddrPortFrom(at.Addr(), l.Addr().(*net.TCPAddr).AddrPort().Port())
		lc := net.ListenConfig{Control: datagram.Shared}
		var p net.PacketConn
		if p, err = lc.ListenPacket(m.ctx, family("udp", at.Addr()), m.address.String()); err == nil {
			m.port = p.(*net.UDPConn)
			return nil
		}
		l.Close()
		if at.Port() != 0 {
			break
		}
	}
	return err
}

// Address returns where the mesh listens. Its IP is what Config.Listen had.
func (m *Mesh) Address() netip.AddrPort { return m.address }

// Set says which other hosts there are from now on, and what runs on them. Links
// to hosts that were there stay as they are; what was told before and is not
// told again ends. When it fails, what it could do is done, and it may be called
// again.
func (m *Mesh) Set(peers []Peer) error {
	m.setting.Lock()
	defer m.setting.Unlock()
	if err := m.check(peers); err != nil {
		return fmt.Errorf("join hosts: %w", err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	var gone []*member
	for id, k := range m.peers {
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.ID == id })
		if i < 0 || peers[i].Key != k.peer.Key || peers[i].Address != k.peer.Address {
			gone = append(gone, k)
			delete(m.peers, id)
		}
	}
	m.mu.Unlock()
	for _, k := range gone {
		k.trunk.Unplug() // closes the link
	}
	// A machine may have moved from one host to another: first all are taken
	// away that are to go, then those come that are new.
	for _, p := range peers {
		if k := m.member(p.ID); k != nil {
			if err := k.shrink(p.Machines); err != nil {
				return fmt.Errorf("join host %s: %w", p.ID, err)
			}
		}
	}
	for _, p := range peers {
		if err := m.add(p); err != nil {
			return fmt.Errorf("join host %s: %w", p.ID, err)
		}
	}
	return nil
}

func (m *Mesh) check(peers []Peer) error {
	if len(peers) > maxPeers {
		return fmt.Errorf("%d hosts: at most %d can be joined", len(peers), maxPeers)
	}
	seen := map[string]bool{m.config.ID: true}
	for _, p := range peers {
		switch {
		case p.ID == "" || seen[p.ID]:
			return fmt.Errorf("host %q is named twice, is this host, or has no name", p.ID)
		case !p.Address.IsValid() || p.Address.Port() == 0 || p.Address.Addr().IsUnspecified():
			return fmt.Errorf("host %s: address %v: not one to connect to", p.ID, p.Address)
		case family("", p.Address.Addr()) != family("", m.address.Addr()):
			return fmt.Errorf("host %s: address %v: IPv4 and IPv6 cannot be joined, and we are at %v", p.ID, p.Address, m.address)
		case p.Key == Key{}:
			return fmt.Errorf("host %s: no key", p.ID)
		}
		seen[p.ID] = true
	}
	return nil
}

func (m *Mesh) member(id string) *member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers[id]
}

// shrink takes away machines that are not in the list.
func (k *member) shrink(machines []vnet.Remote) error {
	stay := slices.DeleteFunc(slices.Clone(k.peer.Machines), func(r vnet.Remote) bool { return !slices.Contains(machines, r) })
	if err := k.trunk.Set(stay); err != nil {
		return err
	}
	k.peer.Machines = stay
	return nil
}

// add makes the link to a peer if there is none, and tells it what is there.
func (m *Mesh) add(p Peer) error {
	k := m.member(p.ID)
	if k == nil {
		var err error
		if k, err = m.join(p); err != nil {
			return err
		}
	}
	if err := k.trunk.Set(p.Machines); err != nil {
		return err
	}
	k.peer.Machines = slices.Clone(p.Machines)
	return nil
}

// outlet is a link as the switch sees it.
type outlet struct{ *link }

// Close ends the link.
func (o outlet) Close() error { o.close(); return nil }

var _ ethernet.Outlet = outlet{}

// join makes the link to a peer.
func (m *Mesh) join(p Peer) (*member, error) {
	l := newLink(seal.NewSecrets(p.Key), m.config.ID < p.ID, m.config.Network.Pool())
	k := &member{peer: p, link: l}
	var err error
	if k.trunk, err = m.config.Network.PlugTrunk(outlet{l}); err != nil {
		l.close()
		return nil, err
	}
	l.input = k.trunk.Input
	if l.udp, err = datagram.DialUDP(m.ctx, m.address, p.Address); err != nil {
		// There may be no way for UDP at all; TCP is tried then.
		m.log.Warn("no UDP to another host", "host", p.ID, "cause", err)
	}
	if l.first {
		l.dial = func(ctx context.Context) (*datagram.Path, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, family("tcp", p.Address.Addr()), p.Address.String())
			if err != nil {
				return nil, err
			}
			return datagram.NewStream(c), nil
		}
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		k.trunk.Unplug()
		return nil, ErrClosed
	}
	m.peers[p.ID] = k
	m.mu.Unlock()
	l.run()
	return k, nil
}

// accept takes TCP connections until the mesh is closed.
func (m *Mesh) accept() {
	for {
		c, err := m.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// No descriptor is free, most likely. Who wanted to come tries again.
			select {
			case <-m.ctx.Done():
				return
			case <-time.After(helloFirst):
			}
			continue
		}
		m.mu.Lock()
		if m.closed || len(m.strangers) >= maxStrangers {
			m.mu.Unlock()
			c.Close()
			continue
		}
		m.strangers[c] = true
		m.running.Go(func() { m.meet(c) })
		m.mu.Unlock()
	}
}

// meet finds out whose connection it is, by the hello that it must begin with.
func (m *Mesh) meet(c net.Conn) {
	b, err := readHello(c)
	m.mu.Lock()
	delete(m.strangers, c)
	var l *link
	if h, ok := seal.ParseHello(b); err == nil && ok && !m.closed {
		for _, k := range m.peers {
			if k.link.secrets.Name() == h.Name && !k.link.first {
				l = k.link
			}
		}
	}
	m.mu.Unlock()
	if l == nil || !l.secrets.Authentic(b) {
		c.Close()
		return
	}
	w := datagram.NewStream(c)
	l.mu.Lock()
	l.adopt(w)
	l.mu.Unlock()
	l.receive(b, w, time.Now())
}

// readHello reads the first datagram of a stranger, which must be a hello.
func readHello(c net.Conn) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(strangerTime)); err != nil {
		return nil, err
	}
	b, err := datagram.ReadFirst(c, seal.HelloSize)
	if err != nil {
		return nil, err
	}
	return b, c.SetDeadline(time.Time{})
}

// Stats tells of all links, by the names of their hosts.
func (m *Mesh) Stats() []Stats {
	m.mu.Lock()
	members := make([]*member, 0, len(m.peers))
	for _, k := range m.peers {
		members = append(members, k)
	}
	m.mu.Unlock()
	all := make([]Stats, 0, len(members))
	for _, k := range members {
		s := k.link.stats()
		s.ID, s.Address = k.peer.ID, k.peer.Address
		for why, n := range k.trunk.Stats().Dropped {
			if why == ethernet.Full.String() {
				continue // counted by the link, by why it took no more
			}
			s.Dropped["switch "+why] += n
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Stats) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// Measure finds the rate of the link to a host, for which it uses the link for a
// moment as much as it can, up to 8 MB. Stats tells what came of it.
func (m *Mesh) Measure(ctx context.Context, id string) error {
	k := m.member(id)
	if k == nil {
		return fmt.Errorf("measure the link to %s: %w", id, ErrNoPeer)
	}
	if err := k.link.measure(ctx); err != nil {
		return fmt.Errorf("measure the link to %s: %w", id, err)
	}
	return nil
}

// Close ends all links. It may be called more than once.
func (m *Mesh) Close() error {
	m.mu.Lock()
	m.closed = true
	members := m.peers
	m.peers = map[string]*member{}
	for c := range m.strangers {
		c.Close()
	}
	m.mu.Unlock()
	m.cancel()
	err := errors.Join(m.listener.Close(), m.port.Close())
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	m.running.Wait()
	var ending sync.WaitGroup
	for _, k := range members {
		ending.Go(k.trunk.Unplug)
	}
	ending.Wait()
	return err
}
