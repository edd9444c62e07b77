package trunk

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
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

// streamPath returns c as a way to the other host.
func streamPath(c net.Conn) *path {
	s := &stream{conn: c}
	w := &path{way: wayTCP, ceiling: func() int { return streamSize }}
	w.size.Store(streamSize)
	w.read = func(take func([]byte, time.Time)) { _ = readStream(c, take) } // how it ended changes nothing
	w.close = func() { w.ended.Store(true); c.Close() }
	w.send = func(b []byte, size int) error {
		err := s.send(b, size)
		if err != nil {
			w.close() // a datagram may have gone in part
		}
		return err
	}
	return w
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
		if n < headSize || n > streamSize {
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
