// Package expand expands the compressed blocks of squashfs images, in all the
// compressions that mksquashfs writes but lzo and lzma. A block of a hostile
// image costs no more memory than a block may have.
package expand

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// The compressors of squashfs 4.0, as superblocks number them.
const (
	Gzip = 1
	XZ   = 4
	LZ4  = 5
	Zstd = 6
)

// Block expands src into dst and returns how much of dst that filled. Content
// longer than dst is an error. It may be called concurrently.
type Block func(dst, src []byte) (int, error)

// ErrTooLong says that a block holds more than there is room for.
var ErrTooLong = errors.New("content is longer than a block")

// New returns what expands the blocks of an image with the given compressor.
// No block asks for more than limit bytes of memory to look back at.
func New(compressor uint16, limit int) (Block, error) {
	switch compressor {
	case Gzip:
		return gunzip, nil
	case XZ:
		return unxz{dict: limit}.expand, nil
	case LZ4:
		return unlz4, nil
	case Zstd:
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(0),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(limit, minZstd))),
			zstd.WithDecodeAllCapLimit(true))
		return unzstd{d}.expand, err
	}
	return nil, fmt.Errorf("compressor %d: only gzip, xz, lz4 and zstd are read", compressor)
}

// minZstd is what a decoder of zstd needs at least: the largest block of a
// squashfs image.
const minZstd = 1 << 20

type unzstd struct{ d *zstd.Decoder }

func (u unzstd) expand(dst, src []byte) (int, error) {
	out, err := u.d.DecodeAll(src, dst[:0:len(dst)])
	return len(out), err
}

func unlz4(dst, src []byte) (int, error) {
	return lz4.UncompressBlock(src, dst)
}

func gunzip(dst, src []byte) (int, error) {
	z, err := zlib.NewReader(bytes.NewReader(src))
	if err != nil {
		return 0, err
	}
	return readBlock(z, dst)
}

// unxz holds the largest dictionary that a block may ask memory for; the
// kernel's limit is the same.
type unxz struct{ dict int }

func (u unxz) expand(dst, src []byte) (int, error) {
	dict, body, err := xzBlock(src)
	if err != nil {
		return 0, err
	}
	if dict > u.dict {
		return 0, fmt.Errorf("xz dictionary of %d bytes: at most %d are allowed", dict, u.dict)
	}
	z, err := lzma.Reader2Config{DictCap: max(dict, lzma.MinDictCap)}.NewReader2(bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	return readBlock(z, dst)
}

// readBlock reads r into dst until r ends.
func readBlock(r io.Reader, dst []byte) (int, error) {
	n, err := io.ReadFull(r, dst)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && n > 0 || errors.Is(err, io.EOF):
		return n, nil
	case err != nil:
		return n, err
	}
	var more [1]byte
	if m, err := io.ReadFull(r, more[:]); m > 0 {
		return n, ErrTooLong
	} else if !errors.Is(err, io.EOF) {
		return n, err
	}
	return n, nil
}
