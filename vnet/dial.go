package vnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// DialContext connects to a TCP port of a machine. The machine sees the
// gateway's address.
func (n *Network) DialContext(ctx context.Context, machine string, port int) (net.Conn, error) {
	c, err := n.dialIn(ctx, machine, port, n.subnet.gateway())
	if err != nil {
		return nil, fmt.Errorf("dial %s port %d: %w", machine, port, err)
	}
	return c, nil
}

// dialIn connects to a machine, which sees the address from.
func (n *Network) dialIn(ctx context.Context, machine string, port int, from netip.Addr) (*gonet.TCPConn, error) {
	if port < 1 || port > 65535 {
		return nil, errors.New("not a TCP port")
	}
	n.mu.Lock()
	closed, attached := n.closed, n.ports[machine] != nil
	n.mu.Unlock()
	ip, known := n.names.address(machine)
	switch {
	case closed:
		return nil, ErrClosed
	case !attached || !known:
		return nil, ErrNoSuch
	}
	return gonet.DialTCPWithBind(ctx, n.stack, tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(from.As4())},
		tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(ip.As4()), Port: uint16(port)}, ipv4.ProtocolNumber)
}

// seenAs is the address that a machine sees of who comes to a published port: his
// own if the machine may connect to that itself, since some services call back
// (Slurm's does), else the gateway's.
func (n *Network) seenAs(from net.Addr) netip.Addr {
	if a, ok := from.(*net.TCPAddr); ok {
		if ip := a.AddrPort().Addr().Unmap(); n.policy.reaches(ip) {
			return ip
		}
	}
	return n.subnet.gateway()
}

// Listen accepts TCP connections of machines at the gateway's address. A port
// of 0 takes a free one.
func (n *Network) Listen(port int) (net.Listener, error) {
	if port < 0 || port > 65535 {
		return nil, fmt.Errorf("listen at the gateway's port %d: not a TCP port", port)
	}
	l, err := gonet.ListenTCP(n.stack, tcpip.FullAddress{
		NIC: nic, Addr: tcpip.AddrFrom4(n.subnet.gateway().As4()), Port: uint16(port),
	}, ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("listen at the gateway's port %d: %w", port, err)
	}
	held := &listener{TCPListener: l}
	drop, ok := n.hold(held)
	if !ok {
		return nil, fmt.Errorf("listen at the gateway's port %d: %w", port, ErrClosed)
	}
	held.drop = drop
	return held, nil
}

// listener is a listener at the gateway, which the network closes with itself.
type listener struct {
	*gonet.TCPListener
	drop func() // nil when the network was closed already
}

// Close stops listening. Connections that were accepted live on.
func (l *listener) Close() error {
	if l.drop != nil {
		l.drop()
	}
	l.TCPListener.Shutdown() // wakes Accept
	return l.TCPListener.Close()
}

// maxPublished is how many connections of one published port are open at once.
// Each costs a file descriptor and two goroutines.
const maxPublished = 1024

// acceptPause is how long a published port waits when the host has no file
// descriptor left for a connection.
const acceptPause = 100 * time.Millisecond

// Published is a port of the host that leads to a machine.
type Published struct {
	listener net.Listener
	drop     func()
	done     chan struct{}
}

// Publish makes a machine's TCP port reachable where l listens, which it closes
// in any case. A connection that the machine does not take is reset.
func (n *Network) Publish(l *net.TCPListener, machine string, port int) (*Published, error) {
	if port < 1 || port > 65535 {
		l.Close()
		return nil, fmt.Errorf("publish %s port %d: not a TCP port", machine, port)
	}
	p := &Published{listener: l, done: make(chan struct{})}
	drop, ok := n.hold(l)
	if !ok {
		return nil, fmt.Errorf("publish %s port %d: %w", machine, port, ErrClosed)
	}
	p.drop = drop
	if !n.launch(func() { defer close(p.done); n.serve(l, machine, port) }) {
		l.Close()
		return nil, fmt.Errorf("publish %s port %d: %w", machine, port, ErrClosed)
	}
	return p, nil
}

// Addr returns where the port is on the host.
func (p *Published) Addr() net.Addr { return p.listener.Addr() }

// Close ends it. Connections that are open live on.
func (p *Published) Close() error {
	p.drop()
	err := p.listener.Close()
	<-p.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// serve passes connections to a machine until l is closed.
func (n *Network) serve(l net.Listener, machine string, port int) {
	slots := make(chan struct{}, maxPublished)
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			n.log.Warn("published port cannot accept", "machine", machine, "port", port, "cause", err)
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		outer := &outerStream{c.(*net.TCPConn)}
		select {
		case slots <- struct{}{}:
		default:
			outer.abort()
			continue
		}
		if !n.launch(func() { defer func() { <-slots }(); n.pass(outer, machine, port) }) {
			outer.abort()
			return
		}
	}
}

// pass carries one connection to a machine.
func (n *Network) pass(outer *outerStream, machine string, port int) {
	ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
	defer cancel()
	c, err := n.dialIn(ctx, machine, port, n.seenAs(outer.RemoteAddr()))
	if err != nil {
		n.log.Debug("published port has no answer", "machine", machine, "port", port, "cause", err)
		outer.abort()
		return
	}
	inner := &dialled{c}
	defer inner.Close()
	defer outer.Close()
	n.splice(inner, outer)
}

// dialled is a connection that we opened to a machine. Its endpoint cannot be
// had to reset it; closing both directions is what remains.
type dialled struct{ *gonet.TCPConn }

func (d *dialled) abort() { d.Close() }
