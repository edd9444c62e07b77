package squashfs

import (
	"fmt"
	"math/bits"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is how an image's blocks are compressed.
type Compression string

// The compressions that are written.
const (
	Zstd Compression = "zstd"
	LZ4  Compression = "lz4"
	None Compression = "none" // stored as is; the image is marked as zstd, since the format has no mark for none
)

// Options are the settings of a Writer. The zero value is a good choice.
type Options struct {
	BlockSize   int         // a power of two from 4 KiB to 1 MiB; 0 means 256 KiB
	Compression Compression // "" means Zstd
	Level       int         // of zstd as its command line has it (1 to 22), of lz4 0 (fast) to 9; 0 means the default
	Jobs        int         // goroutines that compress; 0 means one a CPU; never changes the bytes
}

// Defaults of Options, found by measuring with a Debian tree (see the
// package's benchmarks).
const (
	defaultBlockSize = 256 << 10
	defaultZstdLevel = 1
	maxZstdLevel     = 22
	maxLZ4Level      = 9
	maxJobs          = 256 // each job holds blocks in memory
)

// complete checks o and fills in the defaults.
func (o Options) complete() (Options, error) {
	if o.BlockSize == 0 {
		o.BlockSize = defaultBlockSize
	}
	if o.Compression == "" {
		o.Compression = Zstd
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	o.Jobs = min(o.Jobs, maxJobs)
	top := 0
	switch o.Compression {
	case Zstd:
		top = maxZstdLevel
		if o.Level == 0 {
			o.Level = defaultZstdLevel
		}
	case LZ4:
		top = maxLZ4Level
	case None:
	default:
		return o, fmt.Errorf("compression %q: zstd, lz4 and none are allowed", o.Compression)
	}
	switch {
	case o.BlockSize < minBlockSize || o.BlockSize > maxBlockSize || bits.OnesCount(uint(o.BlockSize)) != 1:
		return o, fmt.Errorf("block size %d: a power of two from %d to %d is allowed", o.BlockSize, minBlockSize, maxBlockSize)
	case o.Level < 0 || o.Level > top:
		return o, fmt.Errorf("level %d of %s: 0 to %d are allowed", o.Level, o.Compression, top)
	case o.Jobs < 0:
		return o, fmt.Errorf("jobs %d: negative", o.Jobs)
	}
	return o, nil
}

// compressor compresses blocks, one at a time. It returns src compressed, in
// dst's memory if it fits there, or nil if src does not become smaller. Its
// output depends on the block alone, not on blocks before.
type compressor func(dst, src []byte) []byte

// newCompressor returns a compressor for completed options. Each goroutine
// needs its own.
func newCompressor(o Options) (compressor, error) {
	switch o.Compression {
	case Zstd:
		e, err := zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false),
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(o.Level)),
			// The kernel's decoder has a window of this size and no more.
			zstd.WithWindowSize(max(o.BlockSize, metaSize)))
		return zstdCompressor{e}.compress, err
	case LZ4:
		if o.Level > 0 {
			return (&lz4HC{lz4.CompressorHC{Level: lz4.CompressionLevel(1 << (8 + o.Level))}}).compress, nil
		}
		return new(lz4Fast).compress, nil
	}
	return func(_, _ []byte) []byte { return nil }, nil
}

// smaller returns packed unless it saves too little of n bytes to be worth the
// reader's work.
func smaller(packed []byte, n int) []byte {
	if len(packed) == 0 || len(packed) >= n {
		return nil
	}
	return packed
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
