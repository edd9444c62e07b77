package home

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"unsafe"
)

// RingSize is how many bytes may be under way in one direction. It is yamux's
// window of one stream, so that one writer rarely waits, and two of them for
// each of 16 machines stay below 10 MB.
const RingSize = 256 << 10

// MemorySize is the size of the shared memory.
const MemorySize = headerSize + 2*RingSize

const (
	headerSize = 4096 // a page, so that the rings begin on one
	lineSize   = 64   // a cache line of every x86-64 processor
	magic      = 0x31454d4f4845524f
)

// ErrBroken is the error of a stream whose other side wrote nonsense into the
// shared memory.
var ErrBroken = errors.New("home: the shared memory makes no sense")

// Side is an end of the stream.
type Side int

// The two ends.
const (
	Host Side = iota
	Guest
)

// Stream is one end of a home that goes through shared memory. One goroutine
// may read, one may write and any may close it, all at the same time.
type Stream struct {
	bell   io.ReadWriteCloser // a byte each way says: look again
	in     *ring              // what we read
	out    *ring              // what we write
	ours   *atomic.Uint64     // a bell for us is on its way
	theirs *atomic.Uint64     // a bell for them is on its way
	unmap  func()

	readable chan struct{} // of capacity 1: the reader is to look again
	writable chan struct{}
	closed   chan struct{} // closed by Close
	gone     chan struct{} // closed when the bell can no longer be heard
	once     sync.Once

	mu sync.RWMutex // held for reading while the memory is touched, for writing to unmap it
}

var _ io.ReadWriteCloser = (*Stream)(nil)

// New returns an end of the stream over memory of MemorySize bytes, which must
// begin on a page and be zero when the host's end is made; that must be made
// first. Close calls unmap, after which nothing touches the memory.
func New(s Side, memory []byte, bell io.ReadWriteCloser, unmap func()) (*Stream, error) {
	if len(memory) < MemorySize {
		return nil, fmt.Errorf("home: %d bytes of shared memory: %d are needed", len(memory), MemorySize)
	}
	if s == Host {
		word(memory, 1).Store(RingSize)
		word(memory, 0).Store(magic)
	} else if word(memory, 0).Load() != magic || word(memory, 1).Load() != RingSize {
		return nil, fmt.Errorf("home: %w: the host speaks another protocol", ErrBroken)
	}
	down := newRing(memory, 2, memory[headerSize:headerSize+RingSize])
	up := newRing(memory, 7, memory[headerSize+RingSize:MemorySize])
	st := &Stream{
		bell: bell, in: up, out: down, ours: word(memory, 13), theirs: word(memory, 12), unmap: unmap,
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
		closed: make(chan struct{}), gone: make(chan struct{}),
	}
	if s == Guest {
		st.in, st.out, st.ours, st.theirs = st.out, st.in, st.theirs, st.ours
	}
	go st.listen()
	return st, nil
}

// word returns the i-th word of the header.
func word(memory []byte, i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&memory[i*lineSize]))
}

// listen hears the bell until it breaks, which is the other side's end.
func (s *Stream) listen() {
	defer close(s.gone)
	b := make([]byte, 16)
	for {
		n, err := s.bell.Read(b)
		if n > 0 && !s.heard() {
			return
		}
		if err != nil {
			return
		}
	}
}

// heard wakes whoever waits here. It is false once the stream is closed.
func (s *Stream) heard() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.isClosed() {
		return false
	}
	s.ours.Store(0)
	for _, c := range []chan struct{}{s.readable, s.writable} {
		select {
		case c <- struct{}{}:
		default: // it is already to look again
		}
	}
	return true
}

// ring rings the other side's bell, unless a bell is on its way to it.
func (s *Stream) ring() {
	if s.theirs.Swap(1) == 0 {
		// Should the bell be broken, listen will find it out.
		s.bell.Write([]byte{1})
	}
}

func (s *Stream) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Read waits for bytes of the other side. It returns io.EOF when that side has
// closed its end or is gone and all was read, and net.ErrClosed after Close.
func (s *Stream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for over := false; ; {
		n, end, err := s.take(b)
		if n > 0 || err != nil {
			return n, err
		}
		if end || over {
			return 0, io.EOF
		}
		select {
		case <-s.readable:
		case <-s.closed:
			return 0, net.ErrClosed
		case <-s.gone:
			over = true // what came before its end is still to be read
		}
	}
}

// take reads what is there, and prepares for waiting when nothing is.
func (s *Stream) take(b []byte) (n int, end bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.isClosed() {
		return 0, false, net.ErrClosed
	}
	n, end, err = s.in.read(b)
	if n > 0 && s.in.writerWaits.Swap(0) != 0 {
		s.ring()
	}
	return n, end, err
}

// Write returns when all of b is in the shared memory: the other side has or
// will have it as long as it lives.
func (s *Stream) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := s.put(b[done:])
		done += n
		if err != nil {
			return done, err
		}
		if n > 0 {
			continue
		}
		select {
		case <-s.writable:
		case <-s.closed:
			return done, net.ErrClosed
		case <-s.gone:
			return done, io.ErrClosedPipe
		}
	}
	return done, nil
}

// put writes what fits, and prepares for waiting when nothing does.
func (s *Stream) put(b []byte) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := s.out.write(b)
	if n > 0 && s.out.readerWaits.Swap(0) != 0 {
		s.ring()
	}
	return n, err
}

// Close ends both directions: the other side reads what was written and then
// io.EOF. It waits for calls under way, which it interrupts. Closing again
// does nothing.
func (s *Stream) Close() error {
	var err error
	s.once.Do(func() {
		s.mu.RLock()
		s.out.closed.Store(1)
		s.ring()
		s.mu.RUnlock()
		close(s.closed)
		s.mu.Lock()
		err = s.bell.Close()
		if s.unmap != nil {
			s.unmap()
		}
		s.mu.Unlock()
		<-s.gone
	})
	return err
}
