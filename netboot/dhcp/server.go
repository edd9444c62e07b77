package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"ore"
	"ore/netboot/link"
)

// The ports of DHCP (RFC 2131, section 4.1) and of PXE's services.
const (
	Port       = 67
	clientPort = 68
	ProxyPort  = 4011
)

const (
	// defaultLease is long enough for an install and short enough that a card
	// which was taken away frees its address on the same day.
	defaultLease = time.Hour
	// maxPacket is the longest packet that is read: an Ethernet's frame.
	maxPacket = 1500
	// probeTime is how long another server's answer is waited for. A common one
	// first pings what it offers, for 3 seconds.
	probeTime = 4 * time.Second
	// probeEvery is how often it is looked again for another server.
	probeEvery = 5 * time.Minute
	// quiet is for how long the same thing is not told twice.
	quiet = time.Minute
	// maxTold bounds what is remembered for that.
	maxTold = 64
)

// Config says who is served, and how.
type Config struct {
	Link   link.Interface
	Range  Range // the zero value: no addresses are given (a proxy)
	Router netip.Addr
	DNS    []netip.Addr
	Lease  time.Duration // 0 means an hour
	Leases string        // path of the file that keeps leases
	// Probe is how long another server's answer is waited for; 0 means four
	// seconds, and a negative value that nobody looks.
	Probe time.Duration
	// Boot says which file a client that boots from the network is given: a
	// name for TFTP, or a URL for those that take one; "" for none. It is
	// called by one goroutine and must be quick.
	Boot func(Client) string
	// Name says what a machine is called, "" if it is not known; may be nil.
	Name  func(link.MAC) string
	Watch ore.Watcher
}

// Server answers until it is closed.
type Server struct {
	config  Config
	probing link.MAC // the card of our own probes
	cancel  context.CancelFunc
	all     sync.WaitGroup

	mu    sync.Mutex // guards what follows
	pool  *pool      // nil for a proxy
	other netip.Addr // who gives addresses where we do not
	told  map[string]time.Time
}

// ForeignError is another DHCP server on a network that was to be served with
// addresses.
type ForeignError struct {
	Interface string
	Servers   []netip.Addr
}

// Error says what to do.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("serve addresses on %s: another DHCP server answers there, %v: stop it, or serve without a range, beside it", e.Interface, e.Servers)
}

// Start answers on the interface until ctx ends or Close is called. With a
// range it first looks for another server, and returns a *ForeignError if
// there is one.
func Start(ctx context.Context, c Config) (*Server, error) {
	s, err := newServer(c)
	if err != nil {
		return nil, fmt.Errorf("serve DHCP: %w", err)
	}
	if s.gives() && s.config.Probe > 0 {
		others, err := s.look(ctx)
		if err != nil {
			s.tell(fmt.Errorf("look for other DHCP servers: %w", err), time.Now())
		}
		if len(others) > 0 {
			return nil, &ForeignError{c.Link.Name, others}
		}
	}
	ctx, s.cancel = context.WithCancel(ctx)
	for _, port := range []uint16{Port, ProxyPort} {
		conn, err := c.Link.ListenUDP(ctx, netip.IPv4Unspecified(), port)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("serve DHCP: %w: stop the other DHCP server of this host, or run as root", err)
		}
		end := link.Until(ctx, conn)
		s.all.Go(func() {
			defer end()
			s.serve(ctx, conn, port)
		})
	}
	if s.config.Probe > 0 {
		s.all.Go(func() { s.watch(ctx) })
	}
	return s, nil
}

// newServer fills in what the settings leave open.
func newServer(c Config) (*Server, error) {
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	if c.Probe == 0 {
		c.Probe = probeTime
	}
	s := &Server{config: c, probing: probeCard(c.Link.MAC), told: map[string]time.Time{}}
	if c.Range == (Range{}) {
		return s, nil
	}
	if err := c.Range.check(c.Link); err != nil {
		return nil, err
	}
	never := append([]netip.Addr{c.Link.Addr(), c.Link.Net.Masked().Addr(), c.Link.Broadcast(), c.Router}, c.DNS...)
	var err error
	s.pool, err = openPool(c.Leases, c.Range, never...)
	return s, err
}

// gives says whether this server gives addresses.
func (s *Server) gives() bool { return s.pool != nil }

// Close ends the server and waits for its end.
func (s *Server) Close() error {
	s.cancel()
	s.all.Wait()
	return nil
}

// serve answers what comes to one port.
func (s *Server) serve(ctx context.Context, conn *net.UDPConn, port uint16) {
	b := make([]byte, maxPacket)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		packet, to := s.handle(b[:n], from, port)
		if packet == nil {
			continue
		}
		if _, err := conn.WriteToUDPAddrPort(packet, to); err != nil && ctx.Err() == nil {
			s.mu.Lock()
			s.tell(fmt.Errorf("answer %s: %w", to, err), time.Now())
			s.mu.Unlock()
		}
	}
}

// handle turns a packet into its answer, if it gets one, and where that goes.
func (s *Server) handle(b []byte, from netip.AddrPort, port uint16) ([]byte, netip.AddrPort) {
	m, err := dhcpv4.FromBytes(b)
	if err != nil {
		return nil, netip.AddrPort{} // anything may fly about at a broadcast port
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	r, err := s.answer(m, port, now)
	if err != nil {
		s.tell(err, now)
	}
	if r == nil {
		return nil, netip.AddrPort{}
	}
	return r.ToBytes(), target(m, r, from, port)
}

// tell tells the operator, but not the same thing again and again: others
// decide how often it happens. The caller holds mu.
func (s *Server) tell(err error, now time.Time) {
	text := err.Error()
	if t, ok := s.told[text]; ok && now.Sub(t) < quiet {
		return
	}
	if len(s.told) >= maxTold {
		for k, t := range s.told {
			if now.Sub(t) >= quiet {
				delete(s.told, k)
			}
		}
		if len(s.told) >= maxTold {
			return
		}
	}
	s.told[text] = now
	s.config.Watch.Tell(ore.Event{Stage: "dhcp", Text: text})
}
