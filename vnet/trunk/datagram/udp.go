package datagram

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// socketBuffer is what is asked for as send and receive buffer; users get
	// what net.core.wmem_max and rmem_max allow. Of the send buffer, it is what
	// may wait in the interface's queue; what waits before it is in ours, where
	// it is dropped by whole frames.
	sendBuffer    = 512 << 10
	receiveBuffer = 4 << 20
	// sendBatch is how many datagrams one call sends where the kernel does not
	// cut them itself.
	sendBatch = Segments
	// minReceive and maxReceive are how many buffers one call may fill: a reader
	// starts with few and takes more when they all came back full.
	minReceive = 2
	maxReceive = 16
	// receiveSize is that of each: datagrams that the kernel has joined (UDP
	// GRO) are as long as an IP packet.
	receiveSize = 65535
)

// Shared has sockets share a port, as net.ListenConfig and net.Dialer want it:
// that of a peer is connected to its address, and the kernel prefers it then.
func Shared(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}

// socket is a connected UDP socket.
type socket struct {
	conn    *net.UDPConn
	raw     syscall.RawConn
	headers int

	mu   sync.Mutex // guards the rest: one call at a time
	out  sendCall
	wide bool // the kernel cuts what it is given (UDP GSO)
}

// DialUDP opens the path to a peer, on a local port that others share.
func DialUDP(ctx context.Context, local, peer netip.AddrPort) (*Path, error) {
	k, err := open(ctx, local, peer)
	if err != nil {
		return nil, err
	}
	return k.path(), nil
}

// path returns the socket as a path.
func (k *socket) path() *Path {
	p := NewPath(UDP, k.headers, k.conn.Close)
	p.Send, p.Read, p.Ceiling = k.send, k.read, k.ceiling
	p.SetSize(BaseSize)
	return p
}

// open opens a connected socket.
func open(ctx context.Context, local, peer netip.AddrPort) (*socket, error) {
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(local), Control: Shared}
	c, err := d.DialContext(ctx, "udp", peer.String())
	if err != nil {
		return nil, err
	}
	k := &socket{conn: c.(*net.UDPConn), headers: Headers4, wide: true}
	if !peer.Addr().Unmap().Is4() {
		k.headers = Headers6
	}
	if k.raw, err = k.conn.SyscallConn(); err == nil {
		err = k.tune()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("udp socket: %w", err)
	}
	return k, nil
}

// tune sets what the socket needs; what only makes it faster may be missing.
func (k *socket) tune() error {
	var err error
	if e := k.raw.Control(func(fd uintptr) {
		s := int(fd)
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		_ = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
		_ = unix.SetsockoptInt(s, unix.SOL_UDP, unix.UDP_GRO, 1)
		if _, e := unix.GetsockoptInt(s, unix.SOL_UDP, unix.UDP_SEGMENT); e != nil {
			k.wide = false
		}
		// Never fragmented, and no size is believed from ICMP: ip(7), IP_PMTUDISC_PROBE.
		if k.headers == Headers4 {
			err = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		} else {
			err = unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		}
	}); e != nil {
		return e
	}
	return err
}

// ceiling is the largest datagram that the interface takes.
func (k *socket) ceiling() int {
	mtu := 0
	_ = k.raw.Control(func(fd uintptr) {
		if k.headers == Headers4 {
			mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
		} else {
			mtu, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
		}
	})
	if mtu <= k.headers {
		return BaseSize // it could not be read
	}
	return min(mtu-k.headers, MostSize)
}

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	n      uint32
}

// sendCall is the memory of one sendmmsg after another.
type sendCall struct {
	vectors  [sendBatch]unix.Iovec
	messages [sendBatch]message
	control  [4]uint64 // aligned as cmsg(3) wants it
	from     int
	want     int
	got      int
	errno    syscall.Errno
}

func (o *sendCall) call(fd uintptr) bool {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&o.messages[o.from])),
		uintptr(o.want-o.from), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	o.got, o.errno = int(n), errno
	return errno != unix.EAGAIN
}

func (o *sendCall) aim(i int, b []byte) {
	o.vectors[i].Base = &b[0]
	o.vectors[i].SetLen(len(b))
	o.messages[i] = message{}
	o.messages[i].header.Iov = &o.vectors[i]
	o.messages[i].header.SetIovlen(1)
}

// segment has the kernel cut message 0 into datagrams of a size (udp(7),
// UDP_SEGMENT).
func (o *sendCall) segment(size int) {
	b := (*[32]byte)(unsafe.Pointer(&o.control))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&o.control))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(size))
	o.messages[0].header.Control = &b[0]
	o.messages[0].header.SetControllen(unix.CmsgSpace(2))
}

// send sends datagrams; see Path.
func (k *socket) send(b []byte, size int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wide && len(b) > size {
		k.out.aim(0, b)
		k.out.segment(size)
		switch err := k.run(1); err {
		case unix.EIO:
			k.wide = false // the interface cannot: an encrypted tunnel, or no checksums
		case unix.EINVAL:
			// Larger than the interface's MTU is by now: told for each below.
		default:
			return err
		}
	}
	n := 0
	for len(b) > 0 {
		end := min(size, len(b))
		k.out.aim(n, b[:end])
		b = b[end:]
		if n++; n == sendBatch || len(b) == 0 {
			if err := k.run(n); err != nil {
				return err
			}
			n = 0
		}
	}
	return nil
}

// run sends the first n messages. An error may be that of an earlier datagram,
// told late (a host that was not there, by ICMP): so each is tried twice.
func (k *socket) run(n int) error {
	var first error
	again := false
	k.out.want = n
	for k.out.from = 0; k.out.from < n; {
		if err := k.raw.Write(k.out.call); err != nil {
			return err
		}
		switch e := k.out.errno; {
		case e == 0:
			k.out.from += k.out.got
			again = false
		case e == unix.EINTR:
		case !again:
			again = true
		default:
			if first == nil {
				first = e
			}
			k.out.from++
			again = false
		}
	}
	return first
}

// receiveCall is the memory of one recvmmsg after another.
type receiveCall struct {
	buffers  [maxReceive][]byte
	vectors  [maxReceive]unix.Iovec
	messages [maxReceive]message
	control  [maxReceive][4]uint64
	want     int
	got      int
	errno    syscall.Errno
}

func (c *receiveCall) call(fd uintptr) bool {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&c.messages[0])),
		uintptr(c.want), unix.MSG_DONTWAIT, 0, 0)
	c.got, c.errno = int(n), errno
	return errno != unix.EAGAIN
}

// prepare offers the buffers.
func (c *receiveCall) prepare() {
	for i := range c.want {
		if c.buffers[i] == nil {
			c.buffers[i] = make([]byte, receiveSize)
			c.vectors[i].Base = &c.buffers[i][0]
			c.vectors[i].SetLen(receiveSize)
		}
		h := &c.messages[i].header
		h.Iov = &c.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&c.control[i]))
		h.SetControllen(int(unsafe.Sizeof(c.control[i])))
	}
}

// size returns that of the datagrams of which message i was joined.
func (c *receiveCall) size(i int) int {
	n, m := int(c.messages[i].n), &c.messages[i].header
	if int(m.Controllen) < unix.CmsgLen(4) {
		return n
	}
	b := (*[32]byte)(unsafe.Pointer(&c.control[i]))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.control[i]))
	if h.Level != unix.SOL_UDP || h.Type != unix.UDP_GRO {
		return n
	}
	if s := int(binary.NativeEndian.Uint32(b[unix.CmsgLen(0):])); s > 0 {
		return s
	}
	return n
}

// resize fits the number of buffers to what the last call brought.
func (c *receiveCall) resize() {
	switch {
	case c.got == c.want:
		c.want = min(2*c.want, maxReceive)
	case c.got < c.want/4 && c.want > minReceive:
		c.want /= 2
		clear(c.buffers[c.want:])
	}
}

// read gives each datagram that comes to take, in memory that is used again,
// until the socket is closed.
func (k *socket) read(take func(b []byte, now time.Time)) {
	c := &receiveCall{want: minReceive}
	for {
		c.prepare()
		if err := k.raw.Read(c.call); err != nil {
			return // closed by us
		}
		if c.errno != 0 {
			continue // what ICMP says of earlier datagrams; it is not believed
		}
		now := time.Now()
		for i := range c.got {
			b, size := c.buffers[i][:c.messages[i].n], c.size(i)
			for len(b) > 0 {
				end := min(size, len(b))
				take(b[:end], now)
				b = b[end:]
			}
		}
		c.resize()
	}
}
