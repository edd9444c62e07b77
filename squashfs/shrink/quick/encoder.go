package quick

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/klauspost/compress/huff0"
)

// MaxBlock is the most that is compressed at once: the largest block of a squashfs
// image.
const MaxBlock = 1 << 20

// partSize is the most that one block of a frame holds (RFC 8878, 3.1.1.2.4).
const partSize = 128 << 10

// Types of blocks and of literals (RFC 8878, 3.1.1.2.2 and 3.1.1.3.1.1).
const (
	typeRaw        = 0
	typeRLE        = 1
	typeCompressed = 2
)

// Encoder compresses one block at a time.
type Encoder struct {
	table [1 << tableBits]uint32 // position of the last place with a hash, plus base
	base  uint32                 // what is less belongs to blocks before

	rep    [2]int     // the last two distances
	anchor int        // the end of the last match
	seqs   []sequence // of a part, the first found of them
	found  int
	lits   [partSize + wide]byte // the first kept of them
	kept   int
	bits   []byte // memory of bitstream

	lengths, offsets, matches coder
	huff                      huff0.Scratch
}

// New returns an Encoder.
func New() *Encoder {
	e := &Encoder{seqs: make([]sequence, partSize/shortMatch+1)}
	e.lengths = newCoder(literalLengths())
	e.offsets = newCoder(distances())
	e.matches = newCoder(matchLengths())
	e.huff.Reuse = huff0.ReusePolicyNone
	return e
}

// Encode appends the frame that src is compressed to, and returns the longer slice.
// It may be longer than src. src has at most MaxBlock bytes.
func (e *Encoder) Encode(dst, src []byte) []byte {
	dst = appendHeader(dst, len(src))
	if e.base > math.MaxUint32-2*MaxBlock {
		clear(e.table[:])
		e.base = 0
	}
	e.rep = [2]int{1, 4} // 3.1.1.5: what a frame begins with
	for from := 0; ; from += partSize {
		to := min(from+partSize, len(src))
		dst = e.part(dst, src, from, to)
		if to == len(src) {
			break
		}
	}
	e.base += uint32(len(src)) + 1
	return dst
}

// appendHeader appends a frame's header: one segment, its size, no checksum
// (3.1.1.1).
func appendHeader(dst []byte, n int) []byte {
	const (
		frameMagic    = 0xFD2FB528
		singleSegment = 1 << 5
		twoBytes      = 1 << 6
		fourBytes     = 2 << 6
		twoBytesFrom  = 256
		fourBytesFrom = twoBytesFrom + 1<<16
	)
	dst = binary.LittleEndian.AppendUint32(dst, frameMagic)
	switch {
	case n < twoBytesFrom:
		return append(dst, singleSegment, byte(n))
	case n < fourBytesFrom:
		return binary.LittleEndian.AppendUint16(append(dst, singleSegment|twoBytes), uint16(n-twoBytesFrom))
	}
	return binary.LittleEndian.AppendUint32(append(dst, singleSegment|fourBytes), uint32(n))
}

// part appends the block of a frame that holds src[from:to].
func (e *Encoder) part(dst, src []byte, from, to int) []byte {
	const header = 3
	at, rep := len(dst), e.rep
	kind := typeCompressed
	dst = append(dst, 0, 0, 0)
	if to-from >= minPart {
		e.find(src, from, to)
		e.count()
		dst = e.sequences(e.literals(dst))
	}
	size := len(dst) - at - header
	if size == 0 || size >= to-from {
		e.rep = rep // the reader of a raw block sees no distances
		dst = append(dst[:at+header], src[from:to]...)
		kind, size = typeRaw, to-from
	}
	word := uint32(size)<<3 | uint32(kind)<<1
	if to == len(src) {
		word |= 1 // the last one
	}
	dst[at], dst[at+1], dst[at+2] = byte(word), byte(word>>8), byte(word>>16)
	return dst
}

// Literals of no more bytes than these are stored, or have one stream instead of four.
const (
	fewLiterals = 32
	oneStream   = 1024
)

// literals appends the section of literals (3.1.1.3.1).
func (e *Encoder) literals(dst []byte) []byte {
	lits := e.lits[:e.kept]
	n := len(lits)
	if n <= fewLiterals {
		return append(literalsHeader(dst, typeRaw, n), lits...)
	}
	var packed []byte
	var err error
	if n < oneStream {
		packed, _, err = huff0.Compress1X(lits, &e.huff)
	} else {
		packed, _, err = huff0.Compress4X(lits, &e.huff)
	}
	switch {
	case errors.Is(err, huff0.ErrUseRLE):
		return append(literalsHeader(dst, typeRLE, n), lits[0])
	case err != nil || len(packed) >= n:
		return append(literalsHeader(dst, typeRaw, n), lits...)
	}
	return append(packedHeader(dst, n, len(packed)), packed...)
}

// literalsHeader is that of literals that are stored, or all the same.
func literalsHeader(dst []byte, kind, n int) []byte {
	switch {
	case n < 1<<5:
		return append(dst, byte(kind|n<<3))
	case n < 1<<12:
		return binary.LittleEndian.AppendUint16(dst, uint16(kind|1<<2|n<<4))
	}
	v := uint32(kind | 3<<2 | n<<4)
	return append(dst, byte(v), byte(v>>8), byte(v>>16))
}

// packedHeader is that of n literals compressed to size bytes.
func packedHeader(dst []byte, n, size int) []byte {
	bits, format, length := 10, 0, 3
	switch {
	case n < oneStream:
	case n < 1<<14 && size < 1<<14:
		bits, format, length = 14, 2, 4
	default:
		bits, format, length = 18, 3, 5
	}
	v := uint64(typeCompressed | format<<2 | n<<4 | size<<(4+bits))
	for range length {
		dst = append(dst, byte(v))
		v >>= 8
	}
	return dst
}
