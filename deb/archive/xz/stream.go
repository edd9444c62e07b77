package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// The container (The .xz File Format, 2 and 3).
const (
	headerMagic = "\xfd7zXZ\x00"
	footerMagic = "YZ"
	edgeSize    = 12 // of the stream's header and footer
	filterLZMA2 = 0x21
	filterX86   = 0x04
	maxFilters  = 4
	// maxDict bounds the memory of one decoder. The strongest preset of xz
	// has a dictionary of 64 MiB; LZMA2 would allow 4 GiB.
	maxDict = 256 << 20
	// maxVLI is the number of bytes of the longest number (1.2).
	maxVLI = 9
)

// The checks that a stream can have.
const (
	checkNone   = 0x00
	checkCRC32  = 0x01
	checkCRC64  = 0x04
	checkSHA256 = 0x0a
)

// newCheck returns the hash of a kind of check; nil, false for unknown kinds,
// nil, true for none.
func newCheck(kind byte) (hash.Hash, bool) {
	switch kind {
	case checkNone:
		return nil, true
	case checkCRC32:
		return crc32.NewIEEE(), true
	case checkCRC64:
		return new(ecma), true
	case checkSHA256:
		return sha256.New(), true
	}
	return nil, false
}

// sum is the check's value in the byte order of the format, which for the
// CRCs is not that of package hash.
func sum(h hash.Hash) []byte {
	b := h.Sum(nil)
	if len(b) <= 8 {
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
	}
	return b
}

// block is the header of a block.
type block struct {
	headerSize         int
	compressed, output int64 // -1 if the header does not say
	dict               int
	x86                bool
}

// record is what the index says of a block.
type record struct{ unpadded, output int64 }

// padded is how many bytes of the file the block takes.
func (r record) padded() int64 { return (r.unpadded + 3) &^ 3 }

// parseHeader checks a stream's header or, with its own magic at the end, its
// footer's flags, and returns the kind of check.
func parseFlags(flags []byte) (check byte, err error) {
	if flags[0] != 0 || flags[1] > 0x0f {
		return 0, errors.New("xz: the stream has flags that are not known")
	}
	if _, ok := newCheck(flags[1]); !ok {
		return 0, fmt.Errorf("xz: a check of kind %d is not known", flags[1])
	}
	return flags[1], nil
}

func parseHeader(h []byte) (check byte, err error) {
	if string(h[:6]) != headerMagic {
		return 0, errors.New("xz: not an xz file")
	}
	if crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return 0, errData
	}
	return parseFlags(h[6:8])
}

// parseFooter returns the size of the index before it.
func parseFooter(f []byte, check byte) (backward int64, err error) {
	if string(f[10:12]) != footerMagic || crc32.ChecksumIEEE(f[4:10]) != binary.LittleEndian.Uint32(f) {
		return 0, errData
	}
	if got, err := parseFlags(f[8:10]); err != nil || got != check {
		return 0, errData
	}
	return (int64(binary.LittleEndian.Uint32(f[4:])) + 1) * 4, nil
}

// parseBlock decodes a block's header, its size byte included.
func parseBlock(h []byte) (block, error) {
	body := h[:len(h)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(h[len(h)-4:]) {
		return block{}, errData
	}
	b := block{headerSize: len(h), compressed: -1, output: -1}
	flags := body[1]
	if flags&0x3c != 0 {
		return block{}, errors.New("xz: the block has flags that are not known")
	}
	in := bytes.NewReader(body[2:])
	var err error
	if flags&0x40 != 0 {
		b.compressed, err = vli(in)
	}
	if flags&0x80 != 0 && err == nil {
		b.output, err = vli(in)
	}
	if err != nil {
		return block{}, err
	}
	for n := int(flags&(maxFilters-1)) + 1; n > 0; n-- {
		if err := b.filter(in, n == 1); err != nil {
			return block{}, err
		}
	}
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			return b, nil
		}
		if c != 0 {
			return block{}, errData
		}
	}
}

// filter takes one filter of a block's header (5.3).
func (b *block) filter(in *bytes.Reader, last bool) error {
	id, err := vli(in)
	if err != nil {
		return err
	}
	size, err := vli(in)
	if err != nil || size > int64(in.Len()) {
		return errData
	}
	props := make([]byte, size)
	if _, err := io.ReadFull(in, props); err != nil {
		return errData
	}
	switch {
	case id == filterLZMA2 && last && size == 1:
		if props[0] > 40 {
			return errData
		}
		dict := uint64(2|props[0]&1) << (props[0]/2 + 11)
		if dict > maxDict {
			return fmt.Errorf("xz: a dictionary of %d MiB: at most %d are allowed", dict>>20, maxDict>>20)
		}
		b.dict = int(dict)
	case id == filterX86 && !last && !b.x86 && size == 0:
		b.x86 = true
	default:
		return fmt.Errorf("xz: filter %#x is not known here", id)
	}
	return nil
}

// vli reads a number of variable length (1.2).
func vli(in io.ByteReader) (int64, error) {
	var n int64
	for i := range maxVLI {
		c, err := in.ReadByte()
		if err != nil {
			return 0, noEOF(err)
		}
		n |= int64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, errData
			}
			return n, nil
		}
	}
	return 0, errData
}

// readIndex reads an index, whose first byte has been read, and returns its
// size. each is given the records in order; it ends the reading by an error.
func readIndex(in *bufio.Reader, each func(record) error) (size int64, err error) {
	h := crc32.NewIEEE()
	h.Write([]byte{0})
	c := &hashedReader{in: in, hash: h, n: 1}
	count, err := vli(c)
	if err != nil {
		return 0, err
	}
	for ; count > 0; count-- {
		var r record
		if r.unpadded, err = vli(c); err != nil {
			return 0, err
		}
		if r.output, err = vli(c); err != nil {
			return 0, err
		}
		if err := each(r); err != nil {
			return 0, err
		}
	}
	for c.n%4 != 0 {
		if b, err := c.ReadByte(); err != nil || b != 0 {
			return 0, errData
		}
	}
	want := h.Sum32()
	var crc [4]byte
	if _, err := io.ReadFull(in, crc[:]); err != nil {
		return 0, noEOF(err)
	}
	if binary.LittleEndian.Uint32(crc[:]) != want {
		return 0, errData
	}
	return c.n + 4, nil
}

// hashedReader counts and hashes what is read.
type hashedReader struct {
	in   io.ByteReader
	hash hash.Hash
	n    int64
}

func (h *hashedReader) ReadByte() (byte, error) {
	b, err := h.in.ReadByte()
	if err == nil {
		h.n++
		h.hash.Write([]byte{b})
	}
	return b, err
}

// noEOF turns the end of a file where more was expected into an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
