package vnet

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// udpIdle is how long a UDP exchange lives without a packet. RFC 4787 asks for
// two minutes at least where nothing else is known.
const udpIdle = 2 * time.Minute

// newUDPHandler returns what carries datagrams of machines to the outside.
func (n *Network) newUDPHandler() handler {
	f := udp.NewForwarder(n.stack, n.exchange)
	return func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		machine, dst := ends(id)
		if pkt.PktType != tcpip.PacketHost || dst.Addr().IsMulticast() || dst.Addr() == n.subnet.broadcast() {
			return true // RFC 1122, 3.2.2: no ICMP errors for these
		}
		if _, ok := n.policy.decide(dst); !ok {
			n.refuse("udp", machine, dst)
			return false
		}
		if !n.flows.begin(machine.Addr(), udpFlow) {
			return false
		}
		return f.HandlePacket(id, pkt)
	}
}

// exchange begins a UDP exchange, which has been counted already.
func (n *Network) exchange(r *udp.ForwarderRequest) {
	machine, dst := ends(r.ID())
	x := &exchange{queue: &waiter.Queue{}}
	ep, err := r.CreateEndpoint(x.queue)
	if err != nil {
		n.flows.end(machine.Addr(), udpFlow)
		return
	}
	x.ep = ep
	started := n.launch(func() {
		defer n.flows.end(machine.Addr(), udpFlow)
		defer ep.Close()
		n.carry(x, dst)
	})
	if !started {
		ep.Close()
		n.flows.end(machine.Addr(), udpFlow)
	}
}

// exchange is datagrams between one port of a machine and one of the outside.
type exchange struct {
	ep    tcpip.Endpoint // towards the machine
	queue *waiter.Queue
	conn  *net.UDPConn // towards the outside
	last  atomic.Int64 // when the last datagram passed, in Unix nanoseconds
}

// carry moves datagrams both ways until they stop coming.
func (n *Network) carry(x *exchange, dst netip.AddrPort) {
	to, _ := n.policy.decide(dst)
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		n.flows.failed.Add(1)
		return
	}
	x.conn = conn
	defer conn.Close()
	if _, open := n.policy.allow[dst]; !open && addrOf(conn.LocalAddr()) == addrOf(conn.RemoteAddr()) {
		n.flows.failed.Add(1)
		return
	}
	drop, ok := n.hold(conn)
	if !ok {
		return
	}
	defer drop()
	x.last.Store(time.Now().UnixNano())
	stop := make(chan struct{}) // closed when the outside has ended
	if !n.launch(func() { defer close(stop); n.inbound(x) }) {
		return
	}
	n.outbound(x, stop)
	conn.Close()
	<-stop
}

// outbound sends what comes from the machine, and ends the exchange when it has
// been idle or the outside is closed.
func (n *Network) outbound(x *exchange, stop <-chan struct{}) {
	entry, notify := waiter.NewChannelEntry(waiter.ReadableEvents)
	x.queue.EventRegister(&entry)
	defer x.queue.EventUnregister(&entry)
	timer := time.NewTimer(udpIdle)
	defer timer.Stop()
	for {
		if err := n.sendAll(x); err != nil {
			return
		}
		select {
		case <-notify:
		case <-stop:
			return
		case <-timer.C:
			idle := time.Since(time.Unix(0, x.last.Load()))
			if idle >= udpIdle {
				return
			}
			timer.Reset(udpIdle - idle)
		}
	}
}

// sendAll sends all that is there.
func (n *Network) sendAll(x *exchange) error {
	buf := n.buffers.get()
	defer n.buffers.put(buf)
	for {
		w := tcpip.SliceWriter(*buf)
		r, err := x.ep.Read(&w, tcpip.ReadOptions{})
		if _, empty := err.(*tcpip.ErrWouldBlock); empty {
			return nil
		}
		if err != nil {
			return errors.New(err.String())
		}
		x.last.Store(time.Now().UnixNano())
		// A datagram that cannot be sent is lost, as datagrams are. What is
		// wrong with the destination shows when reading.
		_, _ = x.conn.Write((*buf)[:r.Count])
	}
}

// inbound sends what comes from the outside to the machine. It holds a buffer
// only while there is something to read: exchanges are many and mostly idle.
func (n *Network) inbound(x *exchange) {
	raw, err := x.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		var errno error
		err := raw.Read(func(fd uintptr) bool {
			buf := n.buffers.get()
			defer n.buffers.put(buf)
			var size int
			size, _, errno = unix.Recvfrom(int(fd), *buf, unix.MSG_DONTWAIT)
			if errno == nil {
				x.last.Store(time.Now().UnixNano())
				// A full queue towards the machine loses the datagram.
				_, _ = x.ep.Write(&sliceReader{(*buf)[:size]}, tcpip.WriteOptions{})
			}
			return !errors.Is(errno, syscall.EAGAIN)
		})
		if err != nil || (errno != nil && !errors.Is(errno, syscall.EINTR)) {
			return
		}
	}
}

// sliceReader is a tcpip.Payloader of bytes.
type sliceReader struct{ b []byte }

// Read copies bytes out.
func (s *sliceReader) Read(p []byte) (int, error) {
	n := copy(p, s.b)
	s.b = s.b[n:]
	return n, nil
}

// Len returns how many bytes are left.
func (s *sliceReader) Len() int { return len(s.b) }
