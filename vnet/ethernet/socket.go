package ethernet

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Frames that go through one system call. A reader starts with few buffers and
// takes more when a batch came back full: an idle machine holds little memory.
const (
	minBatch = 4
	maxBatch = 32
)

// PlugSocket adds a port in front of f, a datagram or seqpacket socket of which
// each packet is a frame. The port owns f from then on; the caller closes it
// only when PlugSocket returns an error. When the peer closes, the port stays
// (and drops what is sent to it) until it is unplugged.
func (s *Switch) PlugSocket(id Identity, f *os.File) (*Port, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("plug %v: %w", id.MAC, err)
	}
	// The kernel's own limit is what is in the way here, so asking for more
	// than it allows is no error.
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer) })
	k := &socket{file: f, queue: NewQueue()}
	p, err := s.Plug(id, k)
	if err != nil {
		return nil, err
	}
	k.running.Go(func() { k.read(p, raw) })
	k.running.Go(func() { k.write(raw) })
	return p, nil
}

// socketBuffer is the send buffer asked for: about what 24 frames of the largest
// MTU need. Ordinary users get what net.core.wmem_max allows.
const socketBuffer = 512 << 10

// socket is the Outlet of a packet socket.
type socket struct {
	file    *os.File
	queue   *Queue
	running sync.WaitGroup // the reader and the writer
}

var _ Outlet = (*socket)(nil)

// Deliver queues f for the socket.
func (k *socket) Deliver(f *Frame) bool {
	if k.queue.Push(f) {
		return true
	}
	f.Release()
	return false
}

// Close ends the reader and the writer and waits for them.
func (k *socket) Close() error {
	k.queue.Close()
	err := k.file.Close()
	k.running.Wait()
	return err
}

// message is struct mmsghdr of recvmmsg(2).
type message struct {
	header unix.Msghdr
	n      uint32
}

// batch is the memory of one recvmmsg or sendmmsg call after another.
type batch struct {
	frames   [maxBatch]*Frame
	vectors  [maxBatch]unix.Iovec
	messages [maxBatch]message
	want     int // how many messages the call is for
	from     int // the first of them
	got      int
	errno    syscall.Errno
}

// aim points message i at the bytes of frame f.
func (b *batch) aim(i int, f *Frame) {
	b.frames[i] = f
	// An empty frame cannot be here: readers offer whole buffers, and writers
	// get frames that have at least a header.
	b.vectors[i].Base = &f.buf[0]
	b.vectors[i].SetLen(f.n)
	b.messages[i].header.Iov = &b.vectors[i]
	b.messages[i].header.SetIovlen(1)
}

// call runs recvmmsg or sendmmsg once, without waiting.
func (b *batch) call(trap, fd uintptr) {
	n, _, errno := unix.Syscall6(trap, fd, uintptr(unsafe.Pointer(&b.messages[b.from])),
		uintptr(b.want-b.from), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	b.got, b.errno = int(n), errno
}

// read takes frames from the socket until it or its peer is closed.
func (k *socket) read(p *Port, raw syscall.RawConn) {
	b := &batch{want: minBatch}
	defer b.release(0)
	closed := false
	receive := func(fd uintptr) bool {
		b.call(unix.SYS_RECVMMSG, fd)
		closed = b.errno == 0 && b.anyEmpty() && peerClosed(int(fd))
		return b.errno != unix.EAGAIN
	}
	for {
		for i := range b.want {
			if b.frames[i] == nil {
				b.aim(i, p.sw.pool.full())
			}
		}
		if err := raw.Read(receive); err != nil {
			return // closed by us
		}
		if b.errno == unix.EINTR {
			continue
		}
		if b.errno != 0 {
			return // the peer is gone
		}
		for i := range b.got {
			b.hand(i, p)
		}
		if closed {
			return
		}
		b.resize()
	}
}

// hand gives message i to the port.
func (b *batch) hand(i int, p *Port) {
	f, n := b.frames[i], int(b.messages[i].n)
	switch {
	case b.messages[i].header.Flags&unix.MSG_TRUNC != 0:
		p.dropped[Giant].Add(1) // the buffer stays for the next frame
	case n < HeaderSize:
		p.dropped[Runt].Add(1)
	case n <= mediumBuffer:
		c := p.sw.pool.Get(n)
		copy(c.buf, f.buf[:n])
		p.Input(c)
	default:
		b.frames[i] = nil
		f.n = n
		p.Input(f)
	}
}

// resize fits the number of buffers to what the last call brought.
func (b *batch) resize() {
	switch {
	case b.got == b.want:
		b.want = min(2*b.want, maxBatch)
	case b.got < b.want/4 && b.want > minBatch:
		b.want /= 2
		b.release(b.want)
	}
}

func (b *batch) anyEmpty() bool {
	for i := range b.got {
		if b.messages[i].n == 0 {
			return true
		}
	}
	return false
}

// release gives back the frames from the first'th on.
func (b *batch) release(first int) {
	for i := first; i < len(b.frames); i++ {
		if f := b.frames[i]; f != nil {
			f.Release()
			b.frames[i] = nil
		}
	}
}

// peerClosed tells the end of a seqpacket socket, which reads as an empty
// packet, from an empty packet that the peer did send.
func peerClosed(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0 && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) != 0
}

// write sends queued frames until the queue is closed. When the peer is gone it
// goes on taking them, so that they are not held.
func (k *socket) write(raw syscall.RawConn) {
	b := &batch{}
	send := func(fd uintptr) bool {
		b.call(unix.SYS_SENDMMSG, fd)
		return b.errno != unix.EAGAIN
	}
	for {
		b.want = k.queue.Take(b.frames[:])
		if b.want == 0 {
			return
		}
		for i := range b.want {
			b.aim(i, b.frames[i])
		}
		for b.from = 0; b.from < b.want; {
			err := raw.Write(send)
			switch {
			case err == nil && b.errno == 0:
				b.from += b.got
			case err == nil && b.errno == unix.EINTR:
				// Tried again: nothing was sent.
			case err == nil && (b.errno == unix.EMSGSIZE || b.errno == unix.ENOBUFS):
				b.from++ // larger than the socket's whole buffer, or the kernel has no memory for it
			default:
				b.from = b.want // nobody will read it
			}
		}
		b.release(0)
	}
}

// Pair returns a socket pair of the given type (unix.SOCK_SEQPACKET or
// unix.SOCK_DGRAM): ours, for PlugSocket, and the machine's.
func Pair(kind int) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	err = errors.Join(
		unix.SetNonblock(fds[0], true),
		unix.SetsockoptInt(fds[1], unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer),
	)
	ours = os.NewFile(uintptr(fds[0]), "switch")
	theirs = os.NewFile(uintptr(fds[1]), "machine")
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("socket pair: %w", err), ours.Close(), theirs.Close())
	}
	return ours, theirs, nil
}
