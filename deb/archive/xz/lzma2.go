package xz

import (
	"encoding/binary"
	"io"
)

// minBuffer is the least a window's buffer grows by.
const minBuffer = 64 << 10

// maxExpected bounds the memory that is taken because a header says that it
// will be needed: twice the dictionary of xz's usual preset.
const maxExpected = 16 << 20

// lzma2 decodes the chunks of one block (The .xz File Format, 5.3.1).
type lzma2 struct {
	window
	lzma      lzma
	expected  int  // bytes of the block, 0 if that is not known
	needDict  bool // nothing but a chunk that begins a dictionary may come
	needProps bool // likewise for properties
	ended     bool
}

// reset prepares for a new block with a dictionary of the given size, which
// may say how many bytes it has. The buffer of the block before is used again.
func (d *lzma2) reset(dict int, expected int64) {
	d.window = window{buf: d.buf, dict: dict}
	d.expected = int(min(max(expected, 0), maxExpected))
	d.needDict, d.needProps, d.ended = true, true, false
}

// next decodes one chunk from r and returns its bytes, which stay as they are
// until the next call; io.EOF after the last.
func (d *lzma2) next(r io.Reader) ([]byte, error) {
	if d.ended {
		return nil, io.EOF
	}
	var head [6]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, noEOF(err)
	}
	control := head[0]
	switch {
	case control == 0:
		d.ended = true
		return nil, io.EOF
	case control == 1 || control >= 0xe0:
		d.needDict, d.needProps = false, true
		d.start = d.pos
		d.phase = -d.pos
	case d.needDict:
		return nil, errData
	}
	if control < 0x80 {
		return d.stored(r, control)
	}
	rest := head[1:5]
	if control >= 0xc0 {
		rest = head[1:6]
	}
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, noEOF(err)
	}
	out := int(control&0x1f)<<16 + int(binary.BigEndian.Uint16(rest)) + 1
	in := int(binary.BigEndian.Uint16(rest[2:])) + 1
	if control >= 0xc0 {
		if err := d.lzma.setProps(rest[4]); err != nil {
			return nil, err
		}
		d.needProps = false
	}
	if d.needProps {
		return nil, errData
	}
	if control >= 0xa0 {
		d.lzma.reset()
	}
	if _, err := io.ReadFull(r, d.lzma.in[:in]); err != nil {
		return nil, noEOF(err)
	}
	d.room(out)
	from := d.pos
	d.end = from + out
	if err := d.lzma.chunk(&d.window, in); err != nil {
		return nil, err
	}
	return d.buf[from:d.pos], nil
}

// stored takes a chunk that is not compressed.
func (d *lzma2) stored(r io.Reader, control byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); control > 2 || err != nil {
		if control > 2 {
			return nil, errData
		}
		return nil, noEOF(err)
	}
	n := int(binary.BigEndian.Uint16(size[:])) + 1
	d.room(n)
	from := d.pos
	if _, err := io.ReadFull(r, d.buf[from:from+n]); err != nil {
		return nil, noEOF(err)
	}
	d.pos += n
	return d.buf[from:d.pos], nil
}

// wholeFrom is from which size on a buffer is taken in full size: the kernel gives
// memory only where it is written to, and growing means to be given all of it once
// more.
const wholeFrom = 1 << 20

// room makes the buffer ready for n more bytes. It grows with what is decoded
// up to twice the dictionary, so that small files do not pay for the size that
// their header allows; then the dictionary moves to its front.
func (d *lzma2) room(n int) {
	need := d.pos + n + slack
	if need <= len(d.buf) {
		return
	}
	if full := 2*d.dict + maxChunkOut + slack; len(d.buf) < full {
		size := max(need, 2*len(d.buf), minBuffer, d.expected+slack)
		if size > full || size > wholeFrom && 2*d.dict <= maxExpected {
			size = full
		}
		grown := make([]byte, size)
		hugePages(grown)
		copy(grown, d.buf[:d.pos])
		d.buf = grown
		if need <= len(d.buf) {
			return
		}
	}
	shift := max(d.pos-d.dict, d.start)
	copy(d.buf, d.buf[shift:d.pos])
	d.pos -= shift
	d.start = max(d.start-shift, 0)
	d.phase += shift
}
