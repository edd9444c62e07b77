// Package set is sets of the chunks of one blob: what a hop has, lacks or is to
// fetch. A set has a bit for each chunk.
package set

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Max bounds the chunks of a blob, and with them a set: 128 KiB.
const Max = 1 << 20

// Set is a set of chunks of one blob, by number. The zero value is empty and of
// a blob without chunks.
type Set struct {
	n     int
	words []uint64
}

// New returns an empty set of a blob with n chunks.
func New(n int) Set { return Set{n: n, words: make([]uint64, (n+63)/64)} }

// Full returns the set of all n chunks.
func Full(n int) Set {
	s := New(n)
	for i := range s.words {
		s.words[i] = ^uint64(0)
	}
	if n%64 != 0 {
		s.words[len(s.words)-1] = 1<<(n%64) - 1
	}
	return s
}

// Of is the number of chunks of the blob.
func (s Set) Of() int { return s.n }

// Has says whether chunk i is in the set.
func (s Set) Has(i int) bool { return i >= 0 && i < s.n && s.words[i/64]&(1<<(i%64)) != 0 }

// Add puts chunk i, which the blob must have, into the set.
func (s Set) Add(i int) { s.words[i/64] |= 1 << (i % 64) }

// Remove takes chunk i out.
func (s Set) Remove(i int) { s.words[i/64] &^= 1 << (i % 64) }

// Count is the number of chunks in the set.
func (s Set) Count() int {
	n := 0
	for _, w := range s.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// Equal says whether both are the same chunks of blobs with as many.
func (s Set) Equal(o Set) bool { return s.n == o.n && slices.Equal(s.words, o.words) }

// Clone returns a copy.
func (s Set) Clone() Set { return Set{n: s.n, words: append([]uint64(nil), s.words...)} }

// Without returns the chunks of s that o does not have.
func (s Set) Without(o Set) Set {
	r := s.Clone()
	for i := range min(len(r.words), len(o.words)) {
		r.words[i] &^= o.words[i]
	}
	return r
}

// With returns the chunks that s or o has.
func (s Set) With(o Set) Set {
	r := s.Clone()
	for i := range min(len(r.words), len(o.words)) {
		r.words[i] |= o.words[i]
	}
	return r
}

// Shared counts the chunks that both have.
func (s Set) Shared(o Set) int {
	n := 0
	for i := range min(len(s.words), len(o.words)) {
		n += bits.OnesCount64(s.words[i] & o.words[i])
	}
	return n
}

// maxPeriod bounds the words after which a set is looked at for repeating itself:
// of so many stripes, into which the chunks are dealt in turn, each one does.
const maxPeriod = 16

// period is after how many words the set repeats itself, up to the last one, which
// may end before its words do; the number of all words if it does not.
func (s Set) period() int {
	last := len(s.words) - 1
next:
	for p := 1; p <= min(maxPeriod, last); p++ {
		for i, w := range s.words[p:] {
			again := s.words[i]
			if p+i == last && s.n%64 != 0 {
				again &= 1<<(s.n%64) - 1
			}
			if w != again {
				continue next
			}
		}
		return p
	}
	return len(s.words)
}

// MarshalText gives the set as base64 of its length and bits; if the bits repeat
// themselves, only those up to there: with the orders for a thousand peers a stripe
// of a blob leaves as often by one link.
func (s Set) MarshalText() ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(s.n))
	for _, w := range s.words[:s.period()] {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText reads what MarshalText gives, and refuses what no blob can have.
func (s *Set) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("set of chunks: %w", err)
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || n > Max || (len(b)-k)%8 != 0 || len(b)-k > int(n+63)/64*8 || len(b) == k && n > 0 {
		return fmt.Errorf("set of chunks: %d bytes do not fit its length", len(b))
	}
	r, given := New(int(n)), (len(b)-k)/8
	for i := range r.words {
		r.words[i] = binary.LittleEndian.Uint64(b[k+8*(i%given):])
	}
	if n%64 != 0 && given < len(r.words) {
		r.words[len(r.words)-1] &= 1<<(n%64) - 1
	}
	if n%64 != 0 && r.words[len(r.words)-1]>>(n%64) != 0 {
		return fmt.Errorf("set of chunks: bits beyond its length")
	}
	*s = r
	return nil
}
