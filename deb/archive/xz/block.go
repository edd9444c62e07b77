package xz

import (
	"bufio"
	"bytes"
	"hash"
	"io"
)

// blockReader decodes one block after another. It is used again for the next,
// since its memory is what costs.
type blockReader struct {
	lzma2  lzma2
	in     counter
	header block
	check  hash.Hash // nil for none
	output int64     // decoded so far

	filter  x86
	pending []byte // with the filter, decoded but not filtered yet
	emitted int    // of pending, returned by the last call
}

// counter counts what is read through it.
type counter struct {
	in *bufio.Reader
	n  int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

// start reads the header of a block, whose first byte, size, has been read.
func (b *blockReader) start(in *bufio.Reader, size byte, check byte) error {
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if _, err := io.ReadFull(in, h[1:]); err != nil {
		return noEOF(err)
	}
	header, err := parseBlock(h)
	if err != nil {
		return err
	}
	b.header, b.output = header, 0
	b.in = counter{in: in}
	b.check, _ = newCheck(check)
	b.lzma2.reset(header.dict, header.output)
	b.filter, b.pending, b.emitted = x86{}, b.pending[:0], 0
	return nil
}

// next returns further bytes of the block, which stay as they are until the
// next call, or io.EOF once the block has ended and all its checks hold.
func (b *blockReader) next() ([]byte, error) {
	for {
		out, err := b.decoded()
		if err == io.EOF {
			if err := b.end(); err != nil {
				return nil, err
			}
			return nil, io.EOF
		}
		if err != nil {
			return nil, err
		}
		if len(out) == 0 {
			continue // the filter keeps some bytes back
		}
		if b.check != nil {
			b.check.Write(out)
		}
		b.output += int64(len(out))
		return out, nil
	}
}

// decoded returns what the filters give.
func (b *blockReader) decoded() ([]byte, error) {
	if !b.header.x86 {
		return b.lzma2.next(&b.in)
	}
	b.pending = b.pending[:copy(b.pending, b.pending[b.emitted:])]
	b.emitted = 0
	out, err := b.lzma2.next(&b.in)
	if err == io.EOF && len(b.pending) > 0 {
		b.emitted = len(b.pending) // too short for an instruction
		return b.pending, nil
	}
	if err != nil {
		return nil, err
	}
	b.pending = append(b.pending, out...)
	b.emitted = b.filter.undo(b.pending)
	return b.pending[:b.emitted], nil
}

// end reads what follows the data: padding and check.
func (b *blockReader) end() error {
	if (b.header.compressed >= 0 && b.header.compressed != b.in.n) || (b.header.output >= 0 && b.header.output != b.output) {
		return errData
	}
	var padding [4]byte
	if _, err := io.ReadFull(b.in.in, padding[:-b.in.n&3]); err != nil {
		return noEOF(err)
	}
	if padding != [4]byte{} {
		return errData
	}
	if b.check == nil {
		return nil
	}
	want := make([]byte, b.check.Size())
	if _, err := io.ReadFull(b.in.in, want); err != nil {
		return noEOF(err)
	}
	if !bytes.Equal(want, sum(b.check)) {
		return errData
	}
	return nil
}

// record is what the index must say of the block that has ended.
func (b *blockReader) record() record {
	r := record{unpadded: int64(b.header.headerSize) + b.in.n, output: b.output}
	if b.check != nil {
		r.unpadded += int64(b.check.Size())
	}
	return r
}
