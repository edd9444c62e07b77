package trunk

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Limits of a session's keys.
const (
	// rekeyAfter is the age at which new keys are made; WireGuard's.
	rekeyAfter = 2 * time.Minute
	// rekeyCount is how many datagrams in either direction have new keys made.
	rekeyCount = 1 << 22
	// mostCount is how many may be sealed with one key: RFC 9001, 6.6 and B.1.1,
	// for datagrams of up to 64 KiB.
	mostCount = 1 << 23
)

// session is a pair of keys and what was done with them.
type session struct {
	ours, theirs uint32 // what each end calls it
	out, in      cipher.AEAD
	path         atomic.Pointer[path] // where data goes
	sent         atomic.Uint64        // counter of the next datagram
	got          atomic.Uint64        // the highest that came, and one
	window       window               // guarded by the link's receiving
	born         time.Time
	greeted      bool // the keys were made at our wish
}

func newSession(ours, theirs uint32, out, in Key) (*session, error) {
	s := &session{ours: ours, theirs: theirs}
	var err error
	if s.out, err = seal(out); err != nil {
		return nil, err
	}
	if s.in, err = seal(in); err != nil {
		return nil, err
	}
	return s, nil
}

func seal(k Key) (cipher.AEAD, error) {
	b, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// old reports whether the keys are to be renewed.
func (s *session) old(now time.Time) bool {
	return now.Sub(s.born) >= rekeyAfter || s.sent.Load() >= rekeyCount || s.got.Load() >= rekeyCount
}

// seal makes a datagram of b, which holds room for the head and then n bytes to
// be sealed, and has room for the tag. It returns the datagram's size, 0 when
// the keys are used up.
func (s *session) seal(b []byte, n int) int {
	counter := s.sent.Add(1) - 1
	if counter >= mostCount {
		return 0
	}
	head := b[:headSize]
	head[0], head[1], head[2], head[3] = kindData, version, 0, 0
	binary.BigEndian.PutUint32(head[4:], s.theirs)
	binary.BigEndian.PutUint64(head[8:], counter)
	nonce := nonceOf(counter)
	sealed := s.out.Seal(head, nonce[:], b[headSize:headSize+n], head)
	return len(sealed)
}

func nonceOf(counter uint64) (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], counter)
	return n
}

// open returns what a datagram for this session holds, in its own memory. The
// reason is passed when it is authentic and new.
func (s *session) open(b []byte) (plain []byte, why reason) {
	counter := binary.BigEndian.Uint64(b[8:])
	if counter >= mostCount || !s.window.fresh(counter) {
		return nil, replayed
	}
	nonce := nonceOf(counter)
	plain, err := s.in.Open(b[headSize:headSize], nonce[:], b[headSize:], b[:headSize])
	if err != nil {
		return nil, corrupt
	}
	s.window.mark(counter)
	if counter >= s.got.Load() {
		s.got.Store(counter + 1)
	}
	return plain, passed
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
