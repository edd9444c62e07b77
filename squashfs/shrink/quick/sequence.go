package quick

import (
	"encoding/binary"
	"math/bits"
)

// sequence is a run of literals and the match behind it (RFC 8878, 3.1.1.3.2.1).
type sequence struct {
	literals uint32
	match    uint32 // less 3
	offset   uint32 // distance plus 3, or 1 for one that was used before
	codes    [3]uint8
}

// small is how many of the smallest values have their codes in a table.
const small = 128

// alphabet is one of the three kinds of numbers in sequences.
type alphabet struct {
	extra   []uint8 // bits that follow each code
	usual   []int16 // the distribution that needs not be told; -1 is less than 1
	usualOf uint8   // its accuracy
	most    uint8   // the greatest accuracy
}

func literalLengths() alphabet {
	return alphabet{
		extra:   append(make([]uint8, 16), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
		usual:   []int16{4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1},
		usualOf: 6, most: 9,
	}
}

func matchLengths() alphabet {
	return alphabet{
		extra: append(make([]uint8, 32), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
		usual: []int16{1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
			-1, -1, -1, -1, -1, -1, -1},
		usualOf: 6, most: 9,
	}
}

func distances() alphabet {
	extra := make([]uint8, 29)
	for i := range extra {
		extra[i] = uint8(i)
	}
	return alphabet{
		extra:   extra,
		usual:   []int16{1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1},
		usualOf: 5, most: 8,
	}
}

// sequences appends the section of sequences (3.1.1.3.2).
func (e *Encoder) sequences(dst []byte) []byte {
	const (
		oneByte  = 128
		twoBytes = 0x7F00
	)
	n := e.found
	switch {
	case n < oneByte:
		dst = append(dst, byte(n))
	case n < twoBytes:
		dst = append(dst, byte(n>>8+oneByte), byte(n))
	default:
		dst = binary.LittleEndian.AppendUint16(append(dst, 255), uint16(n-twoBytes))
	}
	if n == 0 {
		return dst
	}
	at := len(dst)
	dst = append(dst, 0)
	for i, c := range []*coder{&e.lengths, &e.offsets, &e.matches} {
		var mode byte
		dst, mode = c.begin(dst, n)
		dst[at] |= mode << (6 - 2*i)
	}
	return e.bitstream(dst)
}

// mostBits is what one sequence needs at most: three states and their extra bits.
const mostBits = 9 + 8 + 9 + 16 + 20 + 16

// bitstream appends the sequences themselves, the last one first (4.1, 3.1.1.3.2.1.1).
func (e *Encoder) bitstream(dst []byte) []byte {
	const beyond = 24 // the last states, and what is written eight bytes at a time
	seqs := e.seqs[:e.found]
	if room := len(seqs)*mostBits/8 + beyond; len(e.bits) < room {
		e.bits = make([]byte, 2*room)
	}
	out := e.bits
	ll, of, ml := &e.lengths, &e.offsets, &e.matches
	last := &seqs[len(seqs)-1]
	l, o, m := ll.first(last.codes[0]), of.first(last.codes[1]), ml.first(last.codes[2])
	acc, have, pos := uint64(0), uint(0), 0 // bits that are not stored yet, how many, and where they go
	for i := len(seqs) - 1; i >= 0; i-- {
		s := &seqs[i]
		if i < len(seqs)-1 {
			acc, have, o = of.next(o, s.codes[1], acc, have)
			acc, have, m = ml.next(m, s.codes[2], acc, have)
			acc, have, l = ll.next(l, s.codes[0], acc, have)
		}
		n := uint(ll.width[s.codes[0]&63]) & 31
		acc |= uint64(s.literals) & (1<<n - 1) << (have & 63)
		have += n
		// At most 7 bits of before, 26 of states and 16: what follows may not fit.
		binary.LittleEndian.PutUint64(out[pos:], acc)
		pos, acc, have = pos+int(have>>3), acc>>(have&56), have&7
		n = uint(ml.width[s.codes[2]&63]) & 31
		acc |= uint64(s.match) & (1<<n - 1) << have
		have += n
		n = uint(s.codes[1]) & 31
		acc |= uint64(s.offset) & (1<<n - 1) << (have & 63)
		have += n
		binary.LittleEndian.PutUint64(out[pos:], acc)
		pos, acc, have = pos+int(have>>3), acc>>(have&56), have&7
	}
	acc |= uint64(m) & (1<<ml.accuracy - 1) << have
	have += uint(ml.accuracy)
	acc |= uint64(o) & (1<<of.accuracy - 1) << have
	have += uint(of.accuracy)
	acc |= uint64(l) & (1<<ll.accuracy - 1) << have
	have += uint(ll.accuracy)
	acc |= 1 << have // the end, where reading begins
	binary.LittleEndian.PutUint64(out[pos:], acc)
	return append(dst, out[:pos+int(have>>3)+1]...)
}

// coder is an alphabet and its table for one block (4.1).
type coder struct {
	alphabet
	codes  [small]uint8 // of the smallest values
	width  [64]uint8    // extra, without asking for its length
	counts [64]uint32   // how often a block has each code

	accuracy uint8
	share    [64]int16 // of each code in 1<<accuracy
	states   [1 << 9]uint16
	steps    [64]step
	spread   [1 << 9]uint8
}

// step is how the state changes with a code.
type step struct {
	bits int32 // added to a state, 16 bits above are how many of its bits are written
	find int32 // added to what is left, it is the index of the next state
}

func newCoder(a alphabet) coder {
	c := coder{alphabet: a}
	copy(c.width[:], a.extra)
	value := 0
	for code, n := range a.extra {
		for end := min(value+1<<n, small); value < end; value++ {
			c.codes[value] = uint8(code)
		}
	}
	return c
}

// code returns that of a value beyond or in the table. From there on each code has
// twice as many values as the one before.
func (c *coder) code(v uint32) uint8 {
	if v < small {
		return c.codes[v]
	}
	const first = 8 // bits of the least value beyond the table
	return c.codes[small-1] + 1 + uint8(bits.Len32(v)-first)
}

// first returns the state that a last code leads to.
func (c *coder) first(code uint8) uint32 {
	s := &c.steps[code&63]
	n := uint32(s.bits+1<<15) >> 16
	v := n<<16 - uint32(s.bits)
	return uint32(c.states[int32(v>>n)+s.find])
}

// next writes what is to be known of the state to come from a code to it.
func (c *coder) next(state uint32, code uint8, acc uint64, have uint) (uint64, uint, uint32) {
	s := &c.steps[code&63]
	n := uint(uint32(int32(state)+s.bits)>>16) & 31
	acc |= uint64(state) & (1<<n - 1) << (have & 63)
	return acc, have + n, uint32(c.states[(int32(state>>n)+s.find)&(1<<9-1)])
}
