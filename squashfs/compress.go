package squashfs

import (
	"fmt"
	"math/bits"
	"runtime"

	"ore/squashfs/shrink"
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

	Thread func() `json:"-"` // if not nil, called first by each goroutine that compresses or stores; it may change its thread's priority
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

// newCompressor returns a compressor for completed options. Each goroutine
// needs its own.
func newCompressor(o Options) (compressor, error) {
	switch o.Compression {
	case Zstd:
		// The kernel's decoder has a window of this size and no more.
		return shrink.Zstd(o.Level, max(o.BlockSize, metaSize))
	case LZ4:
		return shrink.LZ4(o.Level), nil
	}
	return shrink.None, nil
}

// compressor compresses blocks; see [shrink.Compressor].
type compressor = shrink.Compressor
