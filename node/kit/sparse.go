package kit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sparseMagic opens a sparse file's form; the last byte is its version.
const sparseMagic = "orespar\x01"

// maxSparse is the largest file that is made: what ext4 can be.
const maxSparse = 16 << 40

// ErrFormat is what errors of damaged archives and disks match.
var ErrFormat = errors.New("damaged")

// PackSparse writes the sparse file f in its form for the way.
func PackSparse(w io.Writer, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("pack disk: %w", err)
	}
	head := binary.BigEndian.AppendUint64([]byte(sparseMagic), uint64(info.Size()))
	if _, err := w.Write(head); err != nil {
		return fmt.Errorf("pack disk: %w", err)
	}
	for at := int64(0); at < info.Size(); {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole up to the end
		}
		if err != nil {
			return fmt.Errorf("pack disk: %w", err)
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("pack disk: %w", err)
		}
		piece := binary.BigEndian.AppendUint64(nil, uint64(start))
		piece = binary.BigEndian.AppendUint64(piece, uint64(end-start))
		if _, err := w.Write(piece); err != nil {
			return fmt.Errorf("pack disk: %w", err)
		}
		if _, err := io.Copy(w, io.NewSectionReader(f, start, end-start)); err != nil {
			return fmt.Errorf("pack disk: %w", err)
		}
		at = end
	}
	return nil
}

// UnpackSparse makes the empty file f what PackSparse read.
func UnpackSparse(r io.Reader, f *os.File) error {
	var head [len(sparseMagic) + 8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("unpack disk: %w: %w", ErrFormat, err)
	}
	size := binary.BigEndian.Uint64(head[len(sparseMagic):])
	if string(head[:len(sparseMagic)]) != sparseMagic || size > maxSparse {
		return fmt.Errorf("unpack disk: %w: no magic, or a size of %d", ErrFormat, size)
	}
	if err := f.Truncate(int64(size)); err != nil {
		return fmt.Errorf("unpack disk: %w", err)
	}
	for end := uint64(0); ; {
		var piece [16]byte
		if _, err := io.ReadFull(r, piece[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("unpack disk: %w: %w", ErrFormat, err)
		}
		start, length := binary.BigEndian.Uint64(piece[:]), binary.BigEndian.Uint64(piece[8:])
		if start < end || start > size || length > size-start {
			return fmt.Errorf("unpack disk: %w: %d bytes at %d of %d", ErrFormat, length, start, size)
		}
		if _, err := io.CopyN(io.NewOffsetWriter(f, int64(start)), r, int64(length)); err != nil {
			return fmt.Errorf("unpack disk: %w: %w", ErrFormat, err)
		}
		end = start + length
	}
}
