package inputs

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"ore/squashfs"
	"ore/squashfs/shrink"
)

const (
	// sampleBlock is the size of one sample: squashfs compresses blocks of it.
	sampleBlock = 256 << 10
	// samples are enough to tell what compresses from what does not.
	samples = 32
	// worthIt is what lz4 must leave of the samples at most.
	worthIt = 0.9
)

// choose says how to compress the content of l, by compressing samples that are
// spread evenly over it: with lz4, or, where that saves less than a tenth, not at
// all. Every machine unpacks for itself what all machines read. Measured with 52
// MB of proteins (FASTA), of which lz4 left 77 % and zstd 43 %, reading it took
// 249 ms plain, 195 with lz4 and 233 with zstd under User Mode Linux, where a
// disk is slower than either; in QEMU without KVM 1306, 1280 and 3067 ms. So lz4
// costs nothing anywhere, and zstd much where the processor is emulated.
func choose(ctx context.Context, l Listing) (squashfs.Options, error) {
	o := squashfs.Options{Compression: squashfs.None}
	var all []byte
	step := max(l.Bytes/samples, 1)
	var passed, next int64
	for _, e := range l.Entries {
		if !e.Mode.IsRegular() || e.Size == 0 {
			continue
		}
		for ; next < passed+e.Size && len(all) < samples*sampleBlock; next += step {
			if err := ctx.Err(); err != nil {
				return o, err
			}
			b, err := readAt(filepath.Join(l.Top, e.Path), next-passed)
			if err != nil {
				return o, err
			}
			all = append(all, b...)
		}
		passed += e.Size
	}
	if float64(compressed(all)) < worthIt*float64(len(all)) {
		o.Compression = squashfs.LZ4
	}
	return o, nil
}

// readAt reads a sample from a file.
func readAt(name string, at int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, sampleBlock)
	n, err := f.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], err
}

// compressed returns what lz4 makes of b, block by block.
func compressed(b []byte) int {
	pack, n := shrink.LZ4(0), 0
	room := make([]byte, sampleBlock)
	for len(b) > 0 {
		k := min(len(b), sampleBlock)
		if small := pack(room, b[:k]); small != nil {
			n += len(small)
		} else {
			n += k
		}
		b = b[k:]
	}
	return n
}
