package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// copySize is how much content is read at once: the largest block of squashfs.
const copySize = 1 << 20

// Write writes the file system to w, which is empty: what is not written is
// zero. The superblock comes last, so that what was not finished is not taken
// for a file system.
func (l *Layout) Write(ctx context.Context, w io.WriterAt) error {
	buf := make([]byte, copySize)
	for _, f := range l.all() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.writeContent(ctx, w, f, buf); err != nil {
			return fmt.Errorf("ext4: %s: %w", f.Path, err)
		}
	}
	if l.journal != nil {
		if err := l.writeJournal(w); err != nil {
			return fmt.Errorf("ext4: journal: %w", err)
		}
	}
	if err := l.writeGroups(ctx, w); err != nil {
		return fmt.Errorf("ext4: %w", err)
	}
	return nil
}

// writeContent writes f's blocks and the list of its extents.
func (l *Layout) writeContent(ctx context.Context, w io.WriterAt, f *file, buf []byte) error {
	for i, block := range f.leaves {
		if _, err := w.WriteAt(f.leaf(i), int64(block)*blockSize); err != nil {
			return err
		}
	}
	switch {
	case f.blocks == 0:
		return nil
	case f.Mode.IsDir():
		return f.writeAt(w, f.folderBytes(), 0)
	case f.Mode&fs.ModeSymlink != 0:
		return f.writeAt(w, []byte(f.Link), 0)
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	return f.copyFrom(ctx, w, r, buf)
}

// copyFrom writes what r gives, which is exactly f.Size bytes.
func (f *file) copyFrom(ctx context.Context, w io.WriterAt, r io.Reader, buf []byte) error {
	for at := int64(0); at < f.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := buf[:min(int64(len(buf)), f.Size-at)]
		if _, err := io.ReadFull(r, part); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if err := f.writeAt(w, part, at); err != nil {
			return err
		}
		at += int64(len(part))
	}
	if n, _ := r.Read(buf[:1]); n > 0 {
		return fmt.Errorf("content is longer than %d bytes", f.Size)
	}
	return nil
}

// writeAt writes b at f's offset off, a multiple of the block size. Blocks of
// zeros are left out.
func (f *file) writeAt(w io.WriterAt, b []byte, off int64) error {
	block := uint32(off / blockSize)
	i := 0
	for ; len(b) > 0; i++ {
		x := f.extents[i]
		if block >= x.logical+x.n {
			continue
		}
		n := min(int64(len(b)), int64(x.logical+x.n-block)*blockSize)
		if err := writeBlocks(w, b[:n], int64(x.start+block-x.logical)*blockSize); err != nil {
			return err
		}
		b, block = b[n:], block+uint32(n/blockSize)
	}
	return nil
}

// writeBlocks writes b at off, in pieces between which whole blocks are zero.
func writeBlocks(w io.WriterAt, b []byte, off int64) error {
	from := 0
	for at := 0; at < len(b); at += blockSize {
		if !isZero(b[at:min(at+blockSize, len(b))]) {
			continue
		}
		if from < at {
			if _, err := w.WriteAt(b[from:at], off+int64(from)); err != nil {
				return err
			}
		}
		from = at + blockSize
	}
	if from >= len(b) {
		return nil
	}
	_, err := w.WriteAt(b[from:], off+int64(from))
	return err
}

func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// writeJournal writes the superblock of an empty journal (journal.rst).
func (l *Layout) writeJournal(w io.WriterAt) error {
	b := make([]byte, blockSize)
	be := binary.BigEndian
	be.PutUint32(b[0:], 0xc03b3998)
	be.PutUint32(b[4:], 4) // superblock, version 2
	be.PutUint32(b[12:], blockSize)
	be.PutUint32(b[16:], l.journal.blocks)
	be.PutUint32(b[20:], 1) // first block of the log
	be.PutUint32(b[24:], 1) // first sequence number; the log's start stays 0: it is empty
	copy(b[48:], l.o.ID[:])
	be.PutUint32(b[64:], 1) // one file system uses it
	return l.journal.writeAt(w, b, 0)
}
