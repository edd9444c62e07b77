package datagram

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// streamSize is that of the largest datagram on a TCP connection: a frame of
	// the default MTU and what comes with it fits twice.
	streamSize = 32 << 10
	// streamHead says the size of the datagram that follows, in 16 bits.
	streamHead = 2
	// streamWait is how long the kernel may have no room for a datagram before
	// the connection is given up: far longer than a loss takes to be repaired.
	streamWait = 10 * time.Second
)

// stream carries datagrams on a TCP connection.
type stream struct {
	conn net.Conn
	mu   sync.Mutex // one datagram after the other
	buf  []byte
}

// NewStream returns a TCP connection as a path. It owns the connection.
func NewStream(c net.Conn) *Path {
	tune(c)
	s := &stream{conn: c}
	p := NewPath(TCP, 0, c.Close)
	p.Ceiling = func() int { return streamSize }
	p.SetSize(streamSize)
	p.Read = func(take func([]byte, time.Time)) { _ = readStream(c, take) } // how it ended changes nothing
	p.Send = func(b []byte, size int) error {
		err := s.send(b, size)
		if err != nil {
			p.Close() // a datagram may have gone in part
		}
		return err
	}
	return p
}

// tune keeps little in the kernel that has not been sent, so that what does not
// fit is dropped before, and has a dead connection noticed.
func tune(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	// A kernel without these is only slower to notice.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 4*streamSize)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(streamWait.Milliseconds()))
	})
}

func (s *stream) send(b []byte, size int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = s.buf[:0]
	for len(b) > 0 {
		end := min(size, len(b))
		s.buf = append(binary.BigEndian.AppendUint16(s.buf, uint16(end)), b[:end]...)
		b = b[end:]
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(streamWait)); err != nil {
		return err
	}
	_, err := s.conn.Write(s.buf)
	return err
}

// ReadFirst reads the first datagram of a connection, which must be of a size,
// and nothing beyond it.
func ReadFirst(c io.Reader, size int) ([]byte, error) {
	b := make([]byte, streamHead+size)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, err
	}
	if int(binary.BigEndian.Uint16(b)) != size {
		return nil, errMalformed
	}
	return b[streamHead:], nil
}

// readStream gives each datagram of a connection to take, in memory that is used
// again, until the connection ends or says what no datagram is.
func readStream(c io.Reader, take func(b []byte, now time.Time)) error {
	r := bufio.NewReaderSize(c, streamHead+1<<16)
	for {
		head, err := r.Peek(streamHead)
		if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head))
		if n == 0 || n > streamSize {
			return errMalformed
		}
		b, err := r.Peek(streamHead + n)
		if err != nil {
			return err
		}
		take(b[streamHead:], time.Now())
		if _, err := r.Discard(streamHead + n); err != nil {
			return err
		}
	}
}
