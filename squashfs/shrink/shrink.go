// Package shrink has the compressors of blocks.
package shrink

import (
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"ore/squashfs/shrink/quick"
)

// Compressor compresses blocks, one at a time. It returns src compressed, in
// dst's memory if it fits there, or nil if src does not become smaller. Its
// output depends on the block alone, not on blocks before.
type Compressor func(dst, src []byte) []byte

// None compresses nothing.
func None(_, _ []byte) []byte { return nil }

// Zstd returns a compressor with a level as zstd's command line has it, for blocks of
// at most window bytes.
func Zstd(level, window int) (Compressor, error) {
	if level == 1 && window <= quick.MaxBlock {
		return quickCompressor{quick.New()}.compress, nil
	}
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithWindowSize(window))
	return zstdCompressor{e}.compress, err
}

// LZ4 returns a compressor that is fast at level 0 and thorough from 1 to 9.
func LZ4(level int) Compressor {
	if level > 0 {
		return (&lz4HC{lz4.CompressorHC{Level: lz4.CompressionLevel(1 << (8 + level))}}).compress
	}
	return new(lz4Fast).compress
}

// smaller returns packed unless it saves too little of n bytes to be worth the
// reader's work.
func smaller(packed []byte, n int) []byte {
	if len(packed) == 0 || len(packed) >= n {
		return nil
	}
	return packed
}

type quickCompressor struct{ e *quick.Encoder }

func (q quickCompressor) compress(dst, src []byte) []byte {
	return smaller(q.e.Encode(dst[:0], src), len(src))
}

type zstdCompressor struct{ e *zstd.Encoder }

func (z zstdCompressor) compress(dst, src []byte) []byte {
	return smaller(z.e.EncodeAll(src, dst[:0]), len(src))
}

type lz4Fast struct{ c lz4.Compressor }

func (l *lz4Fast) compress(dst, src []byte) []byte {
	dst = lz4Room(dst, len(src))
	n, err := l.c.CompressBlock(src, dst)
	if err != nil {
		return nil // there was no room: it did not become smaller
	}
	return smaller(dst[:n], len(src))
}

type lz4HC struct{ c lz4.CompressorHC }

func (l *lz4HC) compress(dst, src []byte) []byte {
	dst = lz4Room(dst, len(src))
	n, err := l.c.CompressBlock(src, dst)
	if err != nil {
		return nil // there was no room: it did not become smaller
	}
	return smaller(dst[:n], len(src))
}

// lz4Room returns n bytes, dst's if it has them. The length is always the
// same, because the compressor's choices depend on it.
func lz4Room(dst []byte, n int) []byte {
	if cap(dst) < n {
		return make([]byte, n)
	}
	return dst[:n]
}
