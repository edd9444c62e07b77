// Package sendfile sends pieces of files over connections, without a copy of
// their bytes through the program where the kernel can do that.
package sendfile

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Piece is a range of a file.
type Piece struct {
	File         *os.File
	Offset, Size int64
}

// Send writes head and the piece behind it. Over plain TCP the bytes go from the
// page cache (sendfile(2)).
func Send(c net.Conn, head []byte, p Piece) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		if _, err := c.Write(head); err != nil {
			return err
		}
		_, err := io.Copy(c, io.NewSectionReader(p.File, p.Offset, p.Size))
		return err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	from, err := p.File.SyscallConn()
	if err != nil {
		return err
	}
	o := outgoing{head: head, offset: p.Offset, left: p.Size}
	var sent error
	err = from.Control(func(fd uintptr) { // the file cannot be closed meanwhile
		o.file = int(fd)
		sent = raw.Write(o.push)
	})
	return errors.Join(err, sent, o.err)
}

// outgoing is a head and a piece on their way into a socket.
type outgoing struct {
	head   []byte
	file   int
	offset int64
	left   int64
	err    error
}

// push writes what the socket takes; false means that it is full. The head
// waits for the first bytes behind it (MSG_MORE), so that it costs no packet.
func (o *outgoing) push(socket uintptr) bool {
	for len(o.head) > 0 {
		n, err := unix.SendmsgN(int(socket), o.head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
		if done, ok := o.outcome(n, err); ok {
			return done
		}
		o.head = o.head[max(n, 0):]
	}
	for o.left > 0 {
		n, err := syscall.Sendfile(int(socket), o.file, &o.offset, int(o.left))
		if done, ok := o.outcome(n, err); ok {
			return done
		}
		o.left -= int64(max(n, 0))
	}
	return true
}

// outcome says whether push must return, and what.
func (o *outgoing) outcome(n int, err error) (done, stop bool) {
	switch {
	case err == nil && n == 0:
		o.err = io.ErrUnexpectedEOF // the file became shorter
		return true, true
	case err == nil || errors.Is(err, syscall.EINTR):
		return false, false
	case errors.Is(err, syscall.EAGAIN):
		return false, true
	}
	o.err = err
	return true, true
}
