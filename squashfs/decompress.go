package squashfs

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

// decompressor expands one block. Its methods may be called concurrently.
type decompressor interface {
	// decompress expands src into dst and returns how much of dst that
	// filled. Content longer than dst is an error.
	decompress(dst, src []byte) (int, error)
}

var errTooLong = errors.New("content is longer than a block")

// newDecompressor returns the one for the compressor id of a superblock.
func newDecompressor(s *superblock) (decompressor, error) {
	switch s.Compressor {
	case compGzip:
		return gunzip{}, nil
	case compXZ:
		return unxz{dict: max(int(s.BlockSize), metaSize)}, nil
	case compLZ4:
		return unlz4{}, nil
	case compZstd:
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(0),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxBlockSize),
			zstd.WithDecodeAllCapLimit(true))
		return unzstd{d}, err
	}
	return nil, fmt.Errorf("compressor %d: only gzip, xz, lz4 and zstd are read", s.Compressor)
}

type unzstd struct{ d *zstd.Decoder }

func (u unzstd) decompress(dst, src []byte) (int, error) {
	out, err := u.d.DecodeAll(src, dst[:0:len(dst)])
	return len(out), err
}

type unlz4 struct{}

func (unlz4) decompress(dst, src []byte) (int, error) {
	return lz4.UncompressBlock(src, dst)
}

type gunzip struct{}

func (gunzip) decompress(dst, src []byte) (int, error) {
	z, err := zlib.NewReader(bytes.NewReader(src))
	if err != nil {
		return 0, err
	}
	return readBlock(z, dst)
}

// unxz holds the largest dictionary that a block may ask memory for; the
// kernel's limit is the same.
type unxz struct{ dict int }

func (u unxz) decompress(dst, src []byte) (int, error) {
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
		return n, errTooLong
	} else if !errors.Is(err, io.EOF) {
		return n, err
	}
	return n, nil
}
