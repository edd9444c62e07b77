package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Limits of a session. All are part of the protocol: both sides know them.
const (
	// HostWindow is how many bytes may be unread in one direction of a stream
	// that the host opened. The host opens few, and on a busy machine a round
	// trip takes tens of milliseconds: this much keeps home busy meanwhile.
	HostWindow = 1 << 20
	// MachineWindow is the same for streams that the machine opened. A hostile
	// one may open all of [MaxStreams] and fill them.
	MachineWindow = 64 << 10
	// maxPayload bounds a data frame, so that small frames of other streams
	// wait for at most this much.
	maxPayload = 32 << 10
	// MaxStreams is how many streams one side may have open. A launcher for
	// 60 machines needs two for each; more than that is a flood.
	MaxStreams = 128
	// queued is how many data frames may wait for the writer; it only has to
	// cover the time that the writer needs to wake up.
	queued = 8
	// batch is how many bytes of frames are put together into one write.
	batch = 64 << 10
	// maxUrgent bounds the resets and windows that wait for a peer which does
	// not read. Honest peers read always.
	maxUrgent = 8 * MaxStreams
	// headerSize is the length of a frame's header.
	headerSize = 8
)

type kind byte

const (
	kindOpen   kind = 1
	kindData   kind = 2
	kindWindow kind = 3
	kindEnd    kind = 4
	kindReset  kind = 5
)

// ErrReset says that the other side ended the stream at once.
var ErrReset = errors.New("stream was reset")

// ErrClosed says that the session or the stream was closed on this side.
var ErrClosed = errors.New("closed")

// Session carries streams over one connection. Its methods may be called from
// several goroutines at once.
type Session struct {
	rw     io.ReadWriteCloser
	host   bool
	out    chan []byte   // frames in the order in which they must leave
	wake   chan struct{} // something is in urgent
	accept chan *Stream
	done   chan struct{}
	ended  sync.WaitGroup // the two loops

	mu      sync.Mutex // guards all below and the streams' state
	streams map[uint32]*Stream
	next    uint32 // the next stream that this side opens
	seen    uint32 // the newest stream that the other side opened
	theirs  int    // streams of the other side that are open
	urgent  []byte // frames that need no window and no order
	err     error  // why the session ended
}

// NewSession starts a session on rw after the greeting. The host opens odd
// streams and the machine even ones.
func NewSession(rw io.ReadWriteCloser, host bool) *Session {
	s := &Session{
		rw: rw, host: host, next: 2,
		out:     make(chan []byte, queued),
		wake:    make(chan struct{}, 1),
		accept:  make(chan *Stream, MaxStreams),
		done:    make(chan struct{}),
		streams: make(map[uint32]*Stream),
	}
	if host {
		s.next = 1
	}
	s.ended.Add(2)
	go func() {
		defer s.ended.Done()
		s.fail(s.readLoop())
	}()
	go func() {
		defer s.ended.Done()
		if err := s.writeLoop(); err != nil {
			s.fail(err)
		}
	}()
	return s
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, or nil while it lasts.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session and all its streams at once.
func (s *Session) Close() error {
	s.fail(ErrClosed)
	s.ended.Wait()
	return nil
}

// fail ends the session for the reason err; only the first reason counts.
func (s *Session) fail(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	close(s.done)
	for _, st := range s.streams {
		st.fail(err)
	}
	s.streams = nil
	s.mu.Unlock()
	s.rw.Close()
}

// Open begins a new stream.
func (s *Session) Open() (*Stream, error) {
	s.mu.Lock()
	if s.err != nil {
		defer s.mu.Unlock()
		return nil, fmt.Errorf("open stream: %w", s.err)
	}
	if len(s.streams)-s.theirs >= MaxStreams {
		defer s.mu.Unlock()
		return nil, fmt.Errorf("open stream: %d are open, which is the limit", MaxStreams)
	}
	st := newStream(s, s.next)
	s.next += 2
	s.streams[st.id] = st
	// The open frame must leave in the order of the numbers, so it goes with
	// the urgent ones while the lock is held.
	s.pushLocked(kindOpen, st.id, nil)
	s.mu.Unlock()
	s.wakeWriter()
	return st, nil
}

// Accept waits for a stream that the other side opens.
func (s *Session) Accept() (*Stream, error) {
	select {
	case st := <-s.accept:
		return st, nil
	case <-s.done:
		return nil, fmt.Errorf("accept stream: %w", s.Err())
	}
}

// pushLocked adds a small frame for the writer; s.mu is held.
func (s *Session) pushLocked(k kind, id uint32, payload []byte) {
	s.urgent = appendFrame(s.urgent, k, id, payload)
}

func (s *Session) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// writeLoop is the only one that writes to the connection. It puts waiting
// frames together, since each write costs a system call on both sides.
func (s *Session) writeLoop() error {
	buf := make([]byte, 0, batch+maxPayload+headerSize)
	for {
		buf = buf[:0]
		select {
		case <-s.done:
			return nil
		case <-s.wake:
		case f := <-s.out:
			// An open frame may wait in urgent for this very data.
			buf = s.takeUrgent(buf)
			buf = append(buf, f...)
		}
		buf = s.takeUrgent(buf)
		for more := true; more && len(buf) < batch; {
			select {
			case f := <-s.out:
				buf = s.takeUrgent(buf)
				buf = append(buf, f...)
			default:
				more = false
			}
		}
		if len(buf) == 0 {
			continue
		}
		if _, err := s.rw.Write(buf); err != nil {
			return fmt.Errorf("write to home: %w", err)
		}
	}
}

func (s *Session) takeUrgent(buf []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	buf = append(buf, s.urgent...)
	s.urgent = s.urgent[:0]
	return buf
}

func appendFrame(b []byte, k kind, id uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(k), byte(n>>16), byte(n>>8), byte(n))
	b = binary.BigEndian.AppendUint32(b, id)
	return append(b, payload...)
}
