package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"
)

// Limits of a session's keys.
const (
	// RekeyAfter is the age at which new keys are made; WireGuard's.
	RekeyAfter = 2 * time.Minute
	// rekeyCount is how many datagrams in either direction have new keys made.
	rekeyCount = 1 << 22
	// mostCount is how many may be sealed with one key: RFC 9001, 6.6 and B.1.1,
	// for datagrams of up to 64 KiB.
	mostCount = 1 << 23
)

// Session is a pair of keys and what was done with them. Seal may be called by
// several goroutines, Open by one at a time.
type Session struct {
	ours, theirs uint32 // what each end calls it
	out, in      cipher.AEAD
	sent         atomic.Uint64 // counter of the next datagram
	got          atomic.Uint64 // the highest that came, and one
	window       window
	born         time.Time
}

// Errors of datagrams.
var (
	ErrCorrupt  = errors.New("not made by who has the key")
	ErrReplayed = errors.New("seen before, or too old to know")
)

func newSession(ours, theirs uint32, out, in Key) (*Session, error) {
	s := &Session{ours: ours, theirs: theirs, born: time.Now()}
	var err error
	if s.out, err = aead(out); err != nil {
		return nil, err
	}
	if s.in, err = aead(in); err != nil {
		return nil, err
	}
	return s, nil
}

func aead(k Key) (cipher.AEAD, error) {
	b, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// Index returns what we call the session.
func (s *Session) Index() uint32 { return s.ours }

// Old reports whether the keys are to be renewed.
func (s *Session) Old(now time.Time) bool {
	return now.Sub(s.born) >= RekeyAfter || s.sent.Load() >= rekeyCount || s.got.Load() >= rekeyCount
}

// Seal makes a datagram of b, which holds room for the head and then n bytes to
// be sealed, and has room for the tag. It returns the datagram's size, 0 when
// the keys are used up.
func (s *Session) Seal(b []byte, n int) int {
	counter := s.sent.Add(1) - 1
	if counter >= mostCount {
		return 0
	}
	head := b[:HeadSize]
	head[0], head[1], head[2], head[3] = KindData, Version, 0, 0
	binary.BigEndian.PutUint32(head[4:], s.theirs)
	binary.BigEndian.PutUint64(head[8:], counter)
	nonce := nonceOf(counter)
	sealed := s.out.Seal(head, nonce[:], b[HeadSize:HeadSize+n], head)
	return len(sealed)
}

func nonceOf(counter uint64) (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], counter)
	return n
}

// Index returns the session that a datagram of KindData is for: what its
// receiver calls it. The datagram must not be shorter than HeadSize.
func Index(b []byte) uint32 { return binary.BigEndian.Uint32(b[4:]) }

// Open returns what a datagram for this session holds, in its own memory.
func (s *Session) Open(b []byte) ([]byte, error) {
	if len(b) < Overhead || b[0] != KindData || b[1] != Version || b[2] != 0 || b[3] != 0 {
		return nil, ErrCorrupt
	}
	counter := binary.BigEndian.Uint64(b[8:])
	if counter >= mostCount || !s.window.fresh(counter) {
		return nil, ErrReplayed
	}
	nonce := nonceOf(counter)
	plain, err := s.in.Open(b[HeadSize:HeadSize], nonce[:], b[HeadSize:], b[:HeadSize])
	if err != nil {
		return nil, ErrCorrupt
	}
	s.window.mark(counter)
	if counter >= s.got.Load() {
		s.got.Store(counter + 1)
	}
	return plain, nil
}

// windowSize is by how much datagrams may overtake each other: what a fast link
// carries in about 10 ms. It is a power of two.
const windowSize = 8192

// window is which of the newest counters have been seen (RFC 6479: a ring of
// words, of which the one that is filled next is kept out of use).
type window struct {
	bits [windowSize/64 + 1]uint64
	next uint64 // the highest seen, and one
}

// fresh reports whether a counter was not seen and is not too old to know.
func (w *window) fresh(c uint64) bool {
	if c >= w.next {
		return true
	}
	if w.next-c > windowSize {
		return false
	}
	return w.bits[w.word(c)]&(1<<(c%64)) == 0
}

// mark notes that a fresh counter was seen.
func (w *window) mark(c uint64) {
	if c >= w.next {
		newest := c / 64
		oldest := w.next / 64
		if w.next%64 != 0 {
			oldest++
		}
		for i := range min(newest+1-min(oldest, newest+1), uint64(len(w.bits))) {
			w.bits[(newest-i)%uint64(len(w.bits))] = 0
		}
		w.next = c + 1
	}
	w.bits[w.word(c)] |= 1 << (c % 64)
}

func (w *window) word(c uint64) uint64 { return c / 64 % uint64(len(w.bits)) }
