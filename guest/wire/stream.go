package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Stream is one conversation of a session: bytes in both directions, each
// with its own end. One goroutine may read while others write.
type Stream struct {
	s  *Session
	id uint32

	canRead  chan struct{} // has room for one: state for the reader changed
	canWrite chan struct{} // has room for one: the window grew
	dead     chan struct{} // closed by fail
	writing  sync.Mutex    // held by the one who writes, so that writes stay whole

	// The session's mutex guards all below.
	buf    []byte // received; what is before start has been read
	start  int
	size   int   // the whole window of this stream
	window int   // what may still be sent
	taken  int   // read, but not yet given back to the sender
	ended  bool  // the other side sends no more
	closed bool  // this side sends no more
	err    error // why the stream is over before its end
	late   bool  // a read deadline has passed
}

// keptBuffer is how large a buffer an idle stream keeps.
const keptBuffer = 2 * maxPayload

func newStream(s *Session, id uint32) *Stream {
	size := MachineWindow
	if id%2 == 1 {
		size = HostWindow
	}
	return &Stream{
		s: s, id: id, size: size, window: size,
		canRead:  make(chan struct{}, 1),
		canWrite: make(chan struct{}, 1),
		dead:     make(chan struct{}),
	}
}

// fail marks the stream as over; the session's mutex is held.
func (st *Stream) fail(err error) {
	if st.err == nil {
		st.err = err
		close(st.dead)
	}
}

func (st *Stream) wakeReader() {
	select {
	case st.canRead <- struct{}{}:
	default:
	}
}

func (st *Stream) takeData(p []byte) error {
	if st.ended {
		return fmt.Errorf("stream %d: data after its end", st.id)
	}
	if len(st.buf)-st.start+st.taken+len(p) > st.size {
		return fmt.Errorf("stream %d: more data than the window allows", st.id)
	}
	if st.start > 0 && len(st.buf)+len(p) > cap(st.buf) {
		st.buf = st.buf[:copy(st.buf, st.buf[st.start:])]
		st.start = 0
	}
	st.buf = append(st.buf, p...)
	st.wakeReader()
	return nil
}

func (st *Stream) takeWindow(n uint32) error {
	if n == 0 || n > uint32(st.size) || st.window+int(n) > st.size {
		return fmt.Errorf("stream %d: window grows by %d beyond what was sent", st.id, n)
	}
	st.window += int(n)
	select {
	case st.canWrite <- struct{}{}:
	default:
	}
	return nil
}

// Read reads what the other side wrote; io.EOF is its orderly end. What had
// arrived before the stream failed is read first.
func (st *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := st.tryRead(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-st.canRead:
		case <-st.dead:
		}
	}
}

func (st *Stream) tryRead(p []byte) (int, error) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	n := copy(p, st.buf[st.start:])
	switch {
	case n > 0:
		st.consume(n)
		return n, nil
	case st.ended:
		st.wakeReader() // should there be another one, against the rules
		return 0, io.EOF
	case st.err != nil:
		return 0, st.err
	case st.late:
		return 0, os.ErrDeadlineExceeded
	}
	return 0, nil
}

// SetReadDeadline knows two times: the zero time for none, and any other for
// now. This is what it takes to stop a reader whose data nobody wants more.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.late = !t.IsZero()
	st.wakeReader()
	return nil
}

// consume drops n bytes and gives the sender its window back, not for every
// byte but when it is worth a frame.
func (st *Stream) consume(n int) {
	st.taken += n
	st.start += n
	if st.start == len(st.buf) {
		st.buf, st.start = st.buf[:0], 0
		if cap(st.buf) > keptBuffer {
			st.buf = nil
		}
	}
	if st.ended || st.err != nil || st.taken < st.size/4 {
		return
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(st.taken))
	st.taken = 0
	st.s.pushLocked(kindWindow, st.id, b[:])
	st.s.wakeWriter()
}

// Write sends p, waiting while the other side's window is used up.
func (st *Stream) Write(p []byte) (int, error) {
	st.writing.Lock()
	defer st.writing.Unlock()
	sent := 0
	for sent < len(p) {
		n, err := st.reserve(len(p) - sent)
		if err != nil {
			return sent, err
		}
		if n == 0 {
			select {
			case <-st.canWrite:
			case <-st.dead:
			}
			continue
		}
		if err := st.send(kindData, p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// reserve takes up to n bytes of the window.
func (st *Stream) reserve(n int) (int, error) {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	if st.err != nil {
		return 0, st.err
	}
	if st.closed {
		return 0, ErrClosed
	}
	n = min(n, st.window, maxPayload)
	st.window -= n
	return n, nil
}

func (st *Stream) send(k kind, p []byte) error {
	f := appendFrame(make([]byte, 0, headerSize+len(p)), k, st.id, p)
	select {
	case st.s.out <- f:
		return nil
	case <-st.dead:
		st.s.mu.Lock()
		defer st.s.mu.Unlock()
		return st.err
	}
}

// CloseWrite tells the other side that no more data comes. Reading goes on.
func (st *Stream) CloseWrite() error {
	st.writing.Lock()
	defer st.writing.Unlock()
	st.s.mu.Lock()
	if st.closed || st.err != nil {
		defer st.s.mu.Unlock()
		return st.err
	}
	st.closed = true
	st.s.mu.Unlock()
	err := st.send(kindEnd, nil)
	st.s.mu.Lock()
	st.s.dropIfOver(st)
	st.s.mu.Unlock()
	return err
}

// Reset ends the stream at once in both directions. It never waits, and does
// nothing if the stream is over.
func (st *Stream) Reset() {
	st.s.mu.Lock()
	if st.s.err == nil && st.s.streams[st.id] == st {
		st.s.pushLocked(kindReset, st.id, nil)
		st.s.dropLocked(st)
	}
	st.fail(ErrClosed)
	st.buf, st.start = nil, 0
	st.s.mu.Unlock()
	st.s.wakeWriter()
}

// Finish ends this side in order and waits for the other side's end, throwing
// away what still comes. It is how the side that answers leaves a stream: a
// reset could overtake the answer.
func (st *Stream) Finish() error {
	if err := st.CloseWrite(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, st)
	return err
}

// Close is Reset under the name of io.Closer; a stream that both sides ended
// before is not disturbed by it.
func (st *Stream) Close() error {
	st.Reset()
	return nil
}
