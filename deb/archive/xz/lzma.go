package xz

import (
	"encoding/binary"
	"errors"
)

// The numbers of LZMA (LZMA specification).
const (
	numStates   = 12
	firstNonLit = 7 // states below are those after a literal
	posStates   = 16
	lenStates   = 4
	startAlign  = 4
	endAlign    = 14
	alignBits   = 4
	minMatch    = 2
	maxMatch    = 273
	probInit    = 1 << 10
	probBits    = 11
	probShift   = 5
	rangeTop    = 1 << 24
	literalSize = 0x300
	maxLiterals = literalSize << 4 // lc + lp <= 4 in LZMA2
	literalSpan = 0x400            // an index within a context, masked
	lowLen      = 8
	midLen      = 16
	rangeInit   = 5  // bytes that start a range coder
	symbolInput = 64 // more than a symbol may read: a byte a bit
	// zeroStep makes one shift of both steps of a probability p: towards 1
	// it is p - p>>5, towards 0 p + (2048-p)>>5, which is p - (p+zeroStep)>>5.
	zeroStep = (1<<probShift - 1 - 1<<probBits) & (1<<32 - 1)
)

// Sizes of the chunks of LZMA2 (The .xz File Format, 5.3.1).
const (
	maxChunkIn  = 1 << 16
	maxChunkOut = 1 << 21
	// inputSize is a chunk's input and what its last symbol may read beyond
	// it before that is noticed, as a power of two, so that an index can be
	// masked instead of checked.
	inputSize = 1 << 17
	_         = uint(inputSize - maxChunkIn - symbolInput) // is not negative
	// slack is what may be written behind the end of a match: copies go in
	// words.
	slack = 16
)

// errData says that a file is not what the format allows.
var errData = errors.New("xz: the compressed data is damaged")

// lengths are the probabilities of the code for a match's length.
type lengths struct {
	choice, choice2 uint16
	low             [posStates << 3]uint16
	mid             [posStates << 3]uint16
	high            [256]uint16
}

// lzma decodes the chunks of LZMA2.
type lzma struct {
	lc, lpMask, posMask uint32
	state               uint32
	rep                 [4]uint32

	isMatch  [numStates << 4]uint16
	isRep    [numStates]uint16
	isRepG0  [numStates]uint16
	isRepG1  [numStates]uint16
	isRepG2  [numStates]uint16
	isRep0L  [numStates << 4]uint16
	posSlot  [lenStates << 6]uint16
	posSpec  [128]uint16
	posAlign [1 << alignBits]uint16
	matchLen lengths
	repLen   lengths
	literal  [maxLiterals + literalSpan - literalSize]uint16

	in [inputSize]byte // the chunk that is decoded

	onlyGo bool // for tests: do without assembly
}

// setProps takes the properties byte: (pb * 5 + lp) * 9 + lc.
func (l *lzma) setProps(b byte) error {
	if b >= 9*5*5 {
		return errData
	}
	lc, lp, pb := uint32(b%9), uint32(b/9%5), uint32(b/45)
	if lc+lp > 4 {
		return errData
	}
	l.lc, l.lpMask, l.posMask = lc, 1<<lp-1, 1<<pb-1
	return nil
}

// reset brings state and probabilities to where each stream begins.
func (l *lzma) reset() {
	l.state, l.rep = 0, [4]uint32{}
	for _, p := range [][]uint16{l.isMatch[:], l.isRep[:], l.isRepG0[:], l.isRepG1[:], l.isRepG2[:], l.isRep0L[:],
		l.posSlot[:], l.posSpec[:], l.posAlign[:], l.literal[:]} {
		fill(p)
	}
	for _, n := range []*lengths{&l.matchLen, &l.repLen} {
		n.choice, n.choice2 = probInit, probInit
		fill(n.low[:])
		fill(n.mid[:])
		fill(n.high[:])
	}
}

func fill(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}

// rangeDecoder reads bits of given probabilities from l.in. It is kept in
// registers by the loops below, which therefore repeat its few lines.
type rangeDecoder struct {
	rng, code uint32
	at        uint32 // next byte of the input
	end       uint32 // of the input
}

// bit decodes one bit.
func (r *rangeDecoder) bit(in *[inputSize]byte, p *uint16) uint32 {
	if r.rng < rangeTop {
		r.rng, r.code = r.rng<<8, r.code<<8|uint32(in[r.at&(inputSize-1)])
		r.at++
	}
	v := uint32(*p)
	bound := r.rng >> probBits * v
	if r.code < bound {
		r.rng = bound
		*p = uint16(v + (1<<probBits-v)>>probShift)
		return 0
	}
	r.rng -= bound
	r.code -= bound
	*p = uint16(v - v>>probShift)
	return 1
}

// tree decodes the bits of a number, the highest first. p has a power of two
// of probabilities, and as many bits are decoded as p's length has.
func (r *rangeDecoder) tree(in *[inputSize]byte, p []uint16) uint32 {
	rng, code, at := r.rng, r.code, r.at
	m := uint32(1)
	for m < uint32(len(p)) {
		if rng < rangeTop {
			rng, code = rng<<8, code<<8|uint32(in[at&(inputSize-1)])
			at++
		}
		v := uint32(p[m])
		bound := rng >> probBits * v
		if code < bound {
			rng = bound
			p[m] = uint16(v + (1<<probBits-v)>>probShift)
			m <<= 1
		} else {
			rng -= bound
			code -= bound
			p[m] = uint16(v - v>>probShift)
			m = m<<1 | 1
		}
	}
	r.rng, r.code, r.at = rng, code, at
	return m - uint32(len(p))
}

// reverse decodes the bits of a number, the lowest first.
func (r *rangeDecoder) reverse(in *[inputSize]byte, p []uint16, bits uint32) uint32 {
	m, sum := uint32(1), uint32(0)
	for i := range bits {
		b := r.bit(in, &p[m])
		m = m<<1 | b
		sum |= b << i
	}
	return sum
}

// direct decodes bits that are as likely 0 as 1.
func (r *rangeDecoder) direct(in *[inputSize]byte, bits uint32) uint32 {
	rng, code, at := r.rng, r.code, r.at
	var sum uint32
	for ; bits > 0; bits-- {
		if rng < rangeTop {
			rng, code = rng<<8, code<<8|uint32(in[at&(inputSize-1)])
			at++
		}
		rng >>= 1
		diff := uint64(code) - uint64(rng)
		borrow := uint32(diff >> 32) // all ones if the bit is 0
		code = uint32(diff) + rng&borrow
		sum = sum<<1 + (borrow + 1)
	}
	r.rng, r.code, r.at = rng, code, at
	return sum
}

// length decodes a match's length.
func (n *lengths) length(r *rangeDecoder, in *[inputSize]byte, posState uint32) int {
	if r.bit(in, &n.choice) == 0 {
		return minMatch + int(r.tree(in, n.low[posState<<3:][:8]))
	}
	if r.bit(in, &n.choice2) == 0 {
		return minMatch + lowLen + int(r.tree(in, n.mid[posState<<3:][:8]))
	}
	return minMatch + lowLen + lowLen + int(r.tree(in, n.high[:]))
}

// distance decodes how far back a match of the given length begins, less one.
func (l *lzma) distance(r *rangeDecoder, length int) uint32 {
	s := uint32(min(length-minMatch, lenStates-1))
	slot := r.tree(&l.in, l.posSlot[s<<6:][:64])
	if slot < startAlign {
		return slot
	}
	bits := slot>>1 - 1
	d := (2 | slot&1) << bits
	if slot < endAlign {
		return d + r.reverse(&l.in, l.posSpec[d-slot:], bits)
	}
	d += r.direct(&l.in, bits-alignBits) << alignBits
	return d + r.reverse(&l.in, l.posAlign[:], alignBits)
}

// window is where a block's bytes are decoded to. The dictionary is what lies
// before pos, back to start and at most dict bytes.
type window struct {
	buf   []byte // with slack bytes behind the last that is decoded
	start int    // the dictionary's first byte
	pos   int    // where the next byte goes
	end   int    // of the chunk
	phase int    // pos+phase is the position that contexts depend on
	dict  int
}

// chunk decodes one chunk, whose n bytes of input are in l.in, to
// w.buf[w.pos:w.end].
func (l *lzma) chunk(w *window, n int) error {
	if n < rangeInit || l.in[0] != 0 {
		return errData
	}
	r := rangeDecoder{rng: 1<<32 - 1, code: binary.BigEndian.Uint32(l.in[1:]), at: rangeInit, end: uint32(n)}
	if l.state >= firstNonLit && !w.holds(l.rep[0]) {
		return errData
	}
	var ok bool
	if haveSymbols && !l.onlyGo {
		ok = symbols(l, &r, w)
	} else {
		ok = l.portable(&r, w)
	}
	if !ok {
		return errData
	}
	if r.rng < rangeTop {
		r.code = r.code<<8 | uint32(l.in[r.at&(inputSize-1)])
		r.at++
	}
	if w.pos != w.end || r.at != r.end || r.code != 0 {
		return errData
	}
	return nil
}

// holds tells whether the dictionary reaches back to rep+1 bytes before pos.
func (w *window) holds(rep uint32) bool { return int(rep) < min(w.pos-w.start, w.dict) }

// portable decodes a chunk's symbols until w.end is reached or the input has
// passed its end. It is false if they make no sense.
func (l *lzma) portable(r *rangeDecoder, w *window) bool {
	for w.pos < w.end && r.at <= r.end {
		posState := uint32(w.pos+w.phase) & l.posMask
		if r.bit(&l.in, &l.isMatch[l.state<<4|posState]) == 0 && !l.literals(r, w) {
			break
		}
		posState = uint32(w.pos+w.phase) & l.posMask
		length := l.match(r, posState)
		if !w.holds(l.rep[0]) || length > w.end-w.pos {
			return false
		}
		copyMatch(w.buf, w.pos, int(l.rep[0])+1, length)
		w.pos += length
	}
	return true
}

// literals decodes a run of literals, the first of which has been announced.
// It returns whether a match follows; else w.end was reached or the input's end
// passed. The bits of literals are hard to predict, so this loop has no
// branch that depends on them: mask is all ones for 0 and zero for 1.
func (l *lzma) literals(r *rangeDecoder, w *window) bool {
	in, rng, code, at := &l.in, r.rng, r.code, r.at
	buf, pos, state := w.buf, w.pos, l.state
	var prev uint32
	if pos > w.start {
		prev = uint32(buf[pos-1])
	}
	match := false
	for {
		context := (uint32(pos+w.phase)&l.lpMask)<<l.lc + prev>>(8-l.lc)
		p := (*[literalSpan]uint16)(l.literal[literalSize*context:])
		// After a match, the byte that would have continued it chooses among
		// further probabilities, for as long as its bits are those decoded.
		var matched, offset uint32
		if state >= firstNonLit {
			matched, offset = uint32(buf[pos-int(l.rep[0])-1]), 0x100
		}
		m := uint32(1)
		for m < 0x100 {
			if rng < rangeTop {
				rng, code = rng<<8, code<<8|uint32(in[at&(inputSize-1)])
				at++
			}
			matched <<= 1
			probe := matched & offset
			i := (offset + probe + m) & (literalSpan - 1)
			v := uint32(p[i])
			bound := rng >> probBits * v
			diff := uint64(code) - uint64(bound)
			mask := uint32(diff >> 32)
			code = uint32(diff) + bound&mask
			rng -= bound
			rng += (bound - rng) & mask
			p[i] = uint16(int32(v) - int32(v+mask&zeroStep)>>probShift)
			offset &= probe ^ mask
			m = m<<1 + 1 + mask
		}
		prev = m & 0xff
		buf[pos] = byte(m)
		pos++
		state = afterLiteral(state)
		if pos >= w.end || at > r.end {
			break
		}
		if rng < rangeTop {
			rng, code = rng<<8, code<<8|uint32(in[at&(inputSize-1)])
			at++
		}
		q := &l.isMatch[state<<4|uint32(pos+w.phase)&l.posMask]
		v := uint32(*q)
		bound := rng >> probBits * v
		if code >= bound {
			rng -= bound
			code -= bound
			*q = uint16(v - v>>probShift)
			match = true
			break
		}
		rng = bound
		*q = uint16(v + (1<<probBits-v)>>probShift)
	}
	r.rng, r.code, r.at = rng, code, at
	w.pos, l.state = pos, state
	return match
}

// afterLiteral is the state that follows a literal.
func afterLiteral(state uint32) uint32 {
	if state < 4 {
		return 0
	}
	if state < 10 {
		return state - 3
	}
	return state - 6
}

// match decodes the kind, the length and the distance of a match. The distance
// is rep[0], less one.
func (l *lzma) match(r *rangeDecoder, posState uint32) (length int) {
	in, state := &l.in, l.state
	late := uint32(0) // 3 if the last symbol was no literal
	if state >= firstNonLit {
		late = 3
	}
	if r.bit(in, &l.isRep[state]) == 0 {
		l.state = 7 + late
		length = l.matchLen.length(r, in, posState)
		l.rep[3], l.rep[2], l.rep[1] = l.rep[2], l.rep[1], l.rep[0]
		l.rep[0] = l.distance(r, length)
		return length
	}
	if r.bit(in, &l.isRepG0[state]) == 0 {
		if r.bit(in, &l.isRep0L[state<<4|posState]) == 0 {
			l.state = 9 + late*2/3
			return 1
		}
	} else if r.bit(in, &l.isRepG1[state]) == 0 {
		l.rep[0], l.rep[1] = l.rep[1], l.rep[0]
	} else if r.bit(in, &l.isRepG2[state]) == 0 {
		l.rep[0], l.rep[1], l.rep[2] = l.rep[2], l.rep[0], l.rep[1]
	} else {
		l.rep[0], l.rep[1], l.rep[2], l.rep[3] = l.rep[3], l.rep[0], l.rep[1], l.rep[2]
	}
	l.state = 8 + late
	return l.repLen.length(r, in, posState)
}

// copyMatch repeats length bytes from d bytes before pos. Copies go in words,
// so up to slack bytes behind the match are overwritten.
func copyMatch(buf []byte, pos, d, length int) {
	if d >= 8 {
		if length > 32 && d >= length {
			copy(buf[pos:pos+length], buf[pos-d:])
			return
		}
		src, dst := buf[pos-d:pos+length+slack-d], buf[pos:pos+length+slack]
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(src[i:]))
		}
		return
	}
	for i := pos; i < pos+length; i++ {
		buf[i] = buf[i-d]
	}
}
