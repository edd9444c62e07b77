package vnet

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// dialTimeout is how long a destination may take to answer a machine's TCP
	// connection: Linux sends the third SYN after 3 s, the fourth after 7 s.
	dialTimeout = 15 * time.Second
	// synTable is how many connections the stack has in the handshake, over all
	// machines; each machine's own limit comes first.
	synTable = 1024
	// copyBuffer is the memory of each direction of a connection while it
	// moves bytes.
	copyBuffer = 64 << 10
)

// handler is what a stack calls for packets that belong to no socket of its own.
// When it returns false, the stack refuses the packet as RFC 1122 says.
type handler = func(stack.TransportEndpointID, *stack.PacketBuffer) bool

// ends returns the two ends of a packet for which the stack is the receiver.
func ends(id stack.TransportEndpointID) (machine, dst netip.AddrPort) {
	return netip.AddrPortFrom(netip.AddrFrom4(id.RemoteAddress.As4()), id.RemotePort),
		netip.AddrPortFrom(netip.AddrFrom4(id.LocalAddress.As4()), id.LocalPort)
}

// newTCPHandler returns what connects machines to the outside.
func (n *Network) newTCPHandler() handler {
	f := tcp.NewForwarder(n.stack, 0, synTable, func(r *tcp.ForwarderRequest) {
		machine, dst := ends(r.ID())
		done, ok := n.enter()
		if !ok {
			r.Complete(true)
			return
		}
		defer done()
		n.connect(r, machine, dst)
	})
	return func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		machine, dst := ends(id)
		if _, ok := n.policy.decide(dst); !ok {
			n.refuse("tcp", machine, dst)
			return false
		}
		return f.HandlePacket(id, pkt)
	}
}

// enter has Close wait until the returned function is called.
func (n *Network) enter() (done func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, false
	}
	n.running.Add(1)
	return n.running.Done, true
}

func (n *Network) refuse(protocol string, machine, dst netip.AddrPort) {
	n.flows.refused.Add(1)
	n.log.Debug("refused", "protocol", protocol, "from", machine, "to", dst)
}

// connect dials for a machine, then completes the machine's handshake: what the
// machine sees of the destination is true from the first packet on.
func (n *Network) connect(r *tcp.ForwarderRequest, machine, dst netip.AddrPort) {
	if !n.flows.begin(machine.Addr(), tcpFlow) {
		r.Complete(true)
		return
	}
	defer n.flows.end(machine.Addr(), tcpFlow)
	inner, outer := n.open(r, machine, dst)
	if outer == nil {
		return
	}
	defer outer.Close()
	defer inner.Close()
	n.splice(inner, outer)
}

// open makes both sides of a connection while it counts as half open. When it
// fails it returns nil and has refused the machine.
func (n *Network) open(r *tcp.ForwarderRequest, machine, dst netip.AddrPort) (stream, stream) {
	if !n.flows.begin(machine.Addr(), halfOpenFlow) {
		r.Complete(true)
		return nil, nil
	}
	defer n.flows.end(machine.Addr(), halfOpenFlow)
	outer, err := n.dialOut(dst)
	if err != nil {
		n.flows.failed.Add(1)
		n.log.Debug("no connection", slog.Any("from", machine), slog.Any("to", dst), slog.Any("cause", err))
		r.Complete(true)
		return nil, nil
	}
	var wq waiter.Queue
	ep, terr := r.CreateEndpoint(&wq)
	r.Complete(false)
	if terr != nil { // the machine went away during the handshake
		outer.Close()
		return nil, nil
	}
	ep.SocketOptions().SetKeepAlive(true) // a machine that was killed sends no FIN
	return &innerStream{gonet.NewTCPConn(&wq, ep), ep}, outer
}

func (n *Network) dialOut(dst netip.AddrPort) (*outerStream, error) {
	to, _ := n.policy.decide(dst)
	ctx, cancel := context.WithTimeout(n.ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	t := c.(*net.TCPConn)
	// The host's own address by a way that the list of interfaces does not
	// show: the kernel then takes the destination for the source.
	if _, open := n.policy.allow[dst]; !open && addrOf(t.LocalAddr()) == addrOf(t.RemoteAddr()) {
		t.SetLinger(0)
		t.Close()
		return nil, net.ErrClosed
	}
	return &outerStream{t}, nil
}

func addrOf(a net.Addr) netip.Addr {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap()
}

// stream is one side of a spliced connection.
type stream interface {
	net.Conn
	CloseWrite() error
	abort() // closes with a reset
}

// innerStream is a connection with a machine.
type innerStream struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
}

func (s *innerStream) abort() { s.ep.Abort() }

// outerStream is a connection of the host.
type outerStream struct{ *net.TCPConn }

func (s *outerStream) abort() {
	s.SetLinger(0) // fails only on a closed socket
	s.Close()
}

// splice copies both ways until both are done: an end of one direction is
// passed on as such, an error of either as a reset of both.
func (n *Network) splice(a, b stream) {
	cut := cutter{a, b}
	drop, ok := n.hold(cut)
	if !ok {
		return
	}
	defer drop()
	var wg sync.WaitGroup
	wg.Go(func() { n.pump(a, b, cut) })
	n.pump(b, a, cut)
	wg.Wait()
}

// cutter resets both sides of a connection.
type cutter struct{ a, b stream }

// Close resets both.
func (c cutter) Close() error {
	c.a.abort()
	c.b.abort()
	return nil
}

// pump copies from src to dst.
func (n *Network) pump(dst, src stream, cut cutter) {
	buf := n.buffers.get()
	defer n.buffers.put(buf)
	// Only Read and Write: ReadFrom and WriteTo would bring buffers of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, *buf)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err != nil {
		cut.Close()
	}
}

// buffers are the copying buffers of a network.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, copyBuffer)
	return &p
}

func (b *buffers) put(p *[]byte) { b.pool.Put(p) }
