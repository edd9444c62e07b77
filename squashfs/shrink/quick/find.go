package quick

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	// tableBits: more slots find more, and miss the cache more often.
	tableBits = 14
	// minMatch is how much is hashed, and so the least that is looked for; what
	// continues at a distance that was just used may be shorter.
	minMatch = 6
	// shortMatch is the least that is taken at a distance that was just used.
	shortMatch = 4
	// lookahead is how much is read beyond a position.
	lookahead = 8
	// minPart is the least that is searched: less does not become smaller.
	minPart = 24
	// patience: steps grow by one with every 1<<patience bytes without a match.
	patience = 7
)

// load64 and load32 read what begins at i bytes from b without asking whether that is
// inside: find asks once in each turn, for all that the turn reads.
func load64(b *byte, i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(b), i))[:])
}

func load32(b *byte, i int) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(unsafe.Pointer(b), i))[:])
}

// hash is that of the minMatch low bytes of v.
func hash(v uint64) uint32 {
	const prime = 227718039650203
	return uint32(v << (64 - 8*minMatch) * prime >> (64 - tableBits))
}

// extent returns how many bytes from i and from j on are equal, ending at end; j is
// before i.
func extent(src []byte, i, j, end int) int {
	b, from := unsafe.SliceData(src), i
	for i+8 <= end {
		if d := load64(b, i) ^ load64(b, j); d != 0 {
			return i - from + bits.TrailingZeros64(d)>>3
		}
		i, j = i+8, j+8
	}
	for i < end && src[i] == src[j] {
		i, j = i+1, j+1
	}
	return i - from
}

// find finds the sequences of src[from:to], and what literals they leave. Sources of
// matches may lie before.
func (e *Encoder) find(src []byte, from, to int) {
	e.found, e.kept = 0, 0
	b, base := unsafe.SliceData(src), e.base
	i, limit := from, to-lookahead-2
	e.anchor = from
	rep := e.rep[0]
	if i == 0 {
		i = 1 // nothing is before it
	}
	for i < limit {
		now := load64(b, i)
		h, h1 := hash(now), hash(now>>8)
		at, at1 := e.table[h], e.table[h1]
		e.table[h], e.table[h1] = base+uint32(i)+1, base+uint32(i)+2
		var start, source, n int
		switch {
		case rep <= i && load32(b, i+1-rep) == uint32(now>>8):
			start, source, n = i+1, i+1-rep, shortMatch
		case at > base && load32(b, int(at-base)-1) == uint32(now):
			start, source, n = i, int(at-base)-1, shortMatch
		case at1 > base && load32(b, int(at1-base)-1) == uint32(now>>8):
			start, source, n = i+1, int(at1-base)-1, shortMatch
		default:
			i += 2 + (i-e.anchor)>>patience
			continue
		}
		n += extent(src, start+n, source+n, to)
		if start-source != rep {
			for start > e.anchor && source > 0 && src[start-1] == src[source-1] {
				start, source, n = start-1, source-1, n+1
			}
		}
		e.add(src, start, start-source, n)
		rep = e.rep[0]
		i = start + n
		if i >= limit {
			break
		}
		e.table[hash(load64(b, start+2))] = base + uint32(start) + 3
		e.table[hash(load64(b, i-2))] = base + uint32(i) - 1
		for second := e.rep[1]; i < limit && second <= i && load32(b, i) == load32(b, i-second); second = e.rep[1] {
			n := shortMatch + extent(src, i+shortMatch, i-second+shortMatch, to)
			e.table[hash(load64(b, i))] = base + uint32(i) + 1
			e.add(src, i, second, n)
			i += n
		}
		rep = e.rep[0]
	}
	e.literal(src, e.anchor, to-e.anchor)
}

// add adds a match of n bytes at start with what is at a distance before it, and the
// literals since the last one.
func (e *Encoder) add(src []byte, start, distance, n int) {
	literals := start - e.anchor
	e.literal(src, e.anchor, literals)
	e.anchor = start + n
	value := distance + 3
	switch {
	case literals > 0 && distance == e.rep[0]:
		value = 1 // the last distance (3.1.1.5)
	case literals == 0 && distance == e.rep[1]:
		value = 1 // without literals, the one before that
		e.rep[0], e.rep[1] = e.rep[1], e.rep[0]
	default:
		e.rep[0], e.rep[1] = distance, e.rep[0]
	}
	e.seqs[e.found] = sequence{literals: uint32(literals), match: uint32(n - 3), offset: uint32(value)}
	e.found++
}

// wide is how much is copied at once where literals are few, as they mostly are.
const wide = 16

// literal adds n literals, those of src from i on.
func (e *Encoder) literal(src []byte, i, n int) {
	to := e.lits[e.kept:]
	if n <= wide && i+wide <= len(src) {
		*(*[wide]byte)(to) = *(*[wide]byte)(src[i:])
	} else {
		copy(to, src[i:i+n])
	}
	e.kept += n
}

// count takes the codes of all sequences and counts them.
func (e *Encoder) count() {
	ll, of, ml := &e.lengths, &e.offsets, &e.matches
	clear(ll.counts[:])
	clear(of.counts[:])
	clear(ml.counts[:])
	for i := range e.seqs[:e.found] {
		s := &e.seqs[i]
		l, o, m := ll.code(s.literals), uint8(bits.Len32(s.offset)-1), ml.code(s.match)
		s.codes = [3]uint8{l, o, m}
		ll.counts[l&63]++
		of.counts[o&63]++
		ml.counts[m&63]++
	}
}
