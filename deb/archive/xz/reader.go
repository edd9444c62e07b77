package xz

import (
	"bufio"
	"errors"
	"io"
)

// inputBuffer is what is read at once.
const inputBuffer = 128 << 10

// Reader decodes an xz file. It is for one goroutine at a time.
type Reader struct {
	in      *bufio.Reader
	block   blockReader
	check   byte
	records []record // of the blocks of this stream
	inBlock bool
	streams int
	out     []byte // decoded and not read yet
	err     error  // sticky
}

// NewReader returns a Reader of the xz file r. It may read beyond the file's
// end.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, inputBuffer)}
}

// Reset makes r decode another file, from in. It keeps its memory.
func (r *Reader) Reset(in io.Reader) {
	r.in.Reset(in)
	*r = Reader{in: r.in, block: r.block}
}

// Read implements io.Reader. It returns io.EOF only when all checks of the
// file hold.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.out, r.err = r.next()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// WriteTo implements io.WriterTo, which saves a copy.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for {
		m, err := w.Write(r.out)
		n += int64(m)
		r.out = r.out[m:]
		if err != nil {
			return n, err
		}
		if r.err == io.EOF {
			return n, nil
		}
		if r.err != nil {
			return n, r.err
		}
		r.out, r.err = r.next()
	}
}

// next returns further bytes of the file.
func (r *Reader) next() ([]byte, error) {
	for {
		if r.inBlock {
			out, err := r.block.next()
			if err != io.EOF {
				return out, err
			}
			r.records = append(r.records, r.block.record())
			r.inBlock = false
		}
		if r.records == nil {
			if err := r.startStream(); err != nil {
				return nil, err
			}
			r.records = []record{}
		}
		size, err := r.in.ReadByte()
		if err != nil {
			return nil, noEOF(err)
		}
		if size == 0 {
			if err := r.endStream(); err != nil {
				return nil, err
			}
			r.records = nil
			continue
		}
		if err := r.block.start(r.in, size, r.check); err != nil {
			return nil, err
		}
		r.inBlock = true
	}
}

// startStream reads a stream's header, or padding between streams before it.
func (r *Reader) startStream() error {
	var h [edgeSize]byte
	for {
		_, err := io.ReadFull(r.in, h[:4])
		if err == io.EOF && r.streams > 0 {
			return io.EOF
		}
		if err != nil {
			return noEOF(err)
		}
		if r.streams == 0 || [4]byte(h[:4]) != [4]byte{} {
			break
		}
	}
	if _, err := io.ReadFull(r.in, h[4:]); err != nil {
		return noEOF(err)
	}
	check, err := parseHeader(h[:])
	r.check = check
	r.streams++
	return err
}

// endStream reads the index and the footer, and compares the index with the
// blocks that were decoded.
func (r *Reader) endStream() error {
	n := 0
	size, err := readIndex(r.in, func(rec record) error {
		if n >= len(r.records) || r.records[n] != rec {
			return errData
		}
		n++
		return nil
	})
	if err != nil {
		return err
	}
	if n != len(r.records) {
		return errData
	}
	var f [edgeSize]byte
	if _, err := io.ReadFull(r.in, f[:]); err != nil {
		return noEOF(err)
	}
	backward, err := parseFooter(f[:], r.check)
	if err == nil && backward != size {
		err = errData
	}
	return err
}

// Close ends the reader.
func (r *Reader) Close() error {
	r.out, r.err = nil, errors.New("xz: closed")
	return nil
}
