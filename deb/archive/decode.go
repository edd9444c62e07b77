package archive

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"

	"ore/deb/archive/xz"
)

// Decompress returns the decoded form of r, which holds data in the format
// "gz", "xz", "zst", "bz2" or "lzma". Closing the result before its end must
// free all that it uses, processes included; closing it must be safe whatever
// was read. It may be called by several goroutines at once.
type Decompress func(format string, r io.Reader) (io.ReadCloser, error)

const (
	// inputBuffer is what decoders read ahead.
	inputBuffer = 256 << 10
	// maxWindow bounds the memory of one zstd decoder; the strongest ordinary
	// level needs 8 MiB, --ultra -22 --long=27 128 MiB.
	maxWindow = 128 << 20
)

// known tells whether Decode has a decoder for the format.
func known(format string) bool {
	return slices.Contains([]string{"", "gz", "xz", "zst", "bz2", "lzma"}, format)
}

// Decode is the [Decompress] that works in this process and needs nothing
// else. The format "" means that r is not compressed.
func Decode(format string, r io.Reader) (io.ReadCloser, error) {
	if format == "xz" {
		return xz.NewReader(r), nil
	}
	in := bufio.NewReaderSize(r, inputBuffer)
	switch format {
	case "":
		return io.NopCloser(in), nil
	case "gz":
		return gzip.NewReader(in)
	case "zst":
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case "bz2":
		return io.NopCloser(bzip2.NewReader(in)), nil
	case "lzma":
		d, err := lzma.NewReader(in)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(d), nil
	}
	return nil, fmt.Errorf("compression %q is not known", format)
}
