package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// readLoop takes frames until the connection ends or the peer breaks the
// protocol. It never waits for a consumer and never writes, so that home is
// always drained, whatever the state of the streams.
func (s *Session) readLoop() error {
	r := bufio.NewReaderSize(s.rw, batch)
	var h [headerSize]byte
	for {
		if _, err := io.ReadFull(r, h[:]); err != nil {
			return fmt.Errorf("read from home: %w", err)
		}
		k, n := kind(h[0]), int(h[1])<<16|int(h[2])<<8|int(h[3])
		id := binary.BigEndian.Uint32(h[4:])
		if err := checkLength(k, n); err != nil {
			return err
		}
		payload, err := peek(r, n)
		if err != nil {
			return fmt.Errorf("read from home: %w", err)
		}
		if err := s.take(k, id, payload); err != nil {
			return err
		}
		if _, err := r.Discard(n); err != nil {
			return fmt.Errorf("read from home: %w", err)
		}
	}
}

// peek returns the next n bytes; they are valid until the next read. A frame
// is never longer than the reader's buffer.
func peek(r *bufio.Reader, n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := r.Peek(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

func checkLength(k kind, n int) error {
	ok := n == 0
	switch k {
	case kindData:
		ok = n > 0 && n <= maxPayload
	case kindWindow:
		ok = n == 4
	case kindOpen, kindEnd, kindReset:
	default:
		return fmt.Errorf("frame of unknown kind %d", k)
	}
	if !ok {
		return fmt.Errorf("frame of kind %d with %d bytes", k, n)
	}
	return nil
}

// take applies one frame. Frames for streams that are gone are ignored: they
// were on their way when the stream was reset.
func (s *Session) take(k kind, id uint32, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if len(s.urgent) > maxUrgent*(headerSize+4) {
		return fmt.Errorf("peer sends without reading the answers")
	}
	if k == kindOpen {
		return s.takeOpen(id)
	}
	if id == 0 || (s.mine(id) && id >= s.next) || (!s.mine(id) && id > s.seen) {
		return fmt.Errorf("frame of kind %d for stream %d, which was never opened", k, id)
	}
	st := s.streams[id]
	if st == nil {
		return nil
	}
	switch k {
	case kindData:
		return st.takeData(payload)
	case kindWindow:
		return st.takeWindow(binary.BigEndian.Uint32(payload))
	case kindEnd:
		if st.ended {
			return fmt.Errorf("stream %d: ended twice", id)
		}
		st.ended = true
		st.wakeReader()
		s.dropIfOver(st)
	case kindReset:
		st.fail(ErrReset)
		s.dropLocked(st)
	}
	return nil
}

func (s *Session) mine(id uint32) bool { return (id%2 == 1) == s.host }

func (s *Session) takeOpen(id uint32) error {
	if id == 0 || s.mine(id) || id <= s.seen {
		return fmt.Errorf("stream %d cannot be opened after %d", id, s.seen)
	}
	s.seen = id
	if s.theirs >= MaxStreams || len(s.accept) == cap(s.accept) {
		s.pushLocked(kindReset, id, nil)
		s.wakeWriter()
		return nil
	}
	st := newStream(s, id)
	s.streams[id] = st
	s.theirs++
	s.accept <- st // has room: only this goroutine sends
	return nil
}

// dropIfOver forgets a stream that both sides have ended; s.mu is held.
func (s *Session) dropIfOver(st *Stream) {
	if st.ended && st.closed {
		s.dropLocked(st)
	}
}

func (s *Session) dropLocked(st *Stream) {
	if s.streams[st.id] != st {
		return
	}
	delete(s.streams, st.id)
	if !s.mine(st.id) {
		s.theirs--
	}
}
