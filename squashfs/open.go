package squashfs

import (
	"errors"
	"fmt"
	"io"
	"ore/squashfs/expand"
	"slices"
	"sync"
)

// File is the content of a regular file. Its methods may be called
// concurrently; Read and WriteTo share a position.
type File struct {
	r     *Reader
	item  *item
	words []uint32 // of the blocks, as stored
	marks []int64  // where every markStep-th block is stored

	mu   sync.Mutex
	pos  int64  // of Read; guarded by mu
	buf  []byte // memory for one block; guarded by mu
	data []byte // content of block number last; guarded by mu
	last int    // guarded by mu; -1 if there is none
}

// markStep is between which blocks the position is not kept but added up: the
// list of a large file's blocks is most of what an open file costs.
const markStep = 64

var errClosedFile = errors.New("file is closed")

// Open returns the content of the regular file at path; symbolic links are not
// followed.
func (r *Reader) Open(path string) (*File, error) {
	i, err := r.file(path)
	if err != nil {
		return nil, err
	}
	return r.open(i)
}

func (r *Reader) open(i *item) (*File, error) {
	words, err := r.blockList(i)
	if err != nil {
		return nil, fmt.Errorf("read squashfs: %s: %w", i.Path, err)
	}
	f := &File{r: r, item: i, words: words, last: -1}
	at := i.start
	for part := range slices.Chunk(words, markStep) {
		f.marks = append(f.marks, at)
		at += storedSize(part)
	}
	return f, nil
}

// start returns where the n-th block is stored.
func (f *File) start(n int) int64 {
	mark := n / markStep
	return f.marks[mark] + storedSize(f.words[mark*markStep:n])
}

// Stored returns where the n-th block of the file is stored, counted from 0,
// alone or with the ends of other files; the zero Range if it is zeros only.
func (f *File) Stored(n int) Range {
	if n == len(f.words) {
		g := &f.r.frags[f.item.frag]
		return Range{g.start, int64(g.word &^ blockRaw)}
	}
	if size := int64(f.words[n] &^ blockRaw); size > 0 {
		return Range{f.start(n), size}
	}
	return Range{}
}

// Size returns the number of bytes in the file.
func (f *File) Size() int64 { return f.item.Size }

// Read implements io.Reader.
func (f *File) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.readAt(b, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readAt(b, off)
}

// WriteTo implements io.WriterTo: it writes from the position of Read to the
// end, a block at a time.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := int64(0)
	for f.pos < f.item.Size {
		b, err := f.part(f.pos)
		if err != nil {
			return done, err
		}
		n, err := w.Write(b)
		done += int64(n)
		f.pos += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Close gives the memory back. The Reader stays open.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.r = nil
	f.buf, f.data, f.last = nil, nil, -1
	return nil
}

func (f *File) readAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read squashfs: negative offset")
	}
	done := 0
	for done < len(b) {
		if off >= f.item.Size {
			return done, io.EOF
		}
		part, err := f.part(off)
		if err != nil {
			return done, err
		}
		n := copy(b[done:], part)
		done += n
		off += int64(n)
	}
	return done, nil
}

// part returns the content from off to the end of its block.
func (f *File) part(off int64) ([]byte, error) {
	if f.r == nil {
		return nil, errClosedFile
	}
	size := int64(f.r.super.BlockSize)
	n := int(off / size)
	if n != f.last {
		f.last = -1
		data, err := f.block(n, int(min(size, f.item.Size-int64(n)*size)))
		if err != nil {
			return nil, fmt.Errorf("read squashfs: %s: block %d: %w", f.item.Path, n, err)
		}
		f.data, f.last = data, n
	}
	return f.data[off%size:], nil
}

// block returns the content of the n-th block, which has size bytes. It may
// use the memory of the one before.
func (f *File) block(n, size int) ([]byte, error) {
	if n == len(f.words) {
		data, err := f.r.fragment(f.item.frag)
		if err != nil {
			return nil, err
		}
		if int64(f.item.offset)+int64(size) > int64(len(data)) {
			return nil, io.ErrUnexpectedEOF
		}
		return data[f.item.offset:][:size], nil
	}
	if f.buf == nil {
		f.buf = make([]byte, min(int64(f.r.super.BlockSize), f.item.Size))
	}
	out := f.buf[:size]
	if f.words[n] == 0 {
		clear(out)
		return out, nil
	}
	return out, f.r.expand(out, f.start(n), f.words[n])
}

// expand reads a stored block that has exactly len(out) bytes of content.
func (r *Reader) expand(out []byte, start int64, word uint32) error {
	n, err := r.expandSome(out, start, word)
	if err == nil && n < len(out) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// expandSome reads a stored block that has at most len(out) bytes of content.
func (r *Reader) expandSome(out []byte, start int64, word uint32) (int, error) {
	n := int(word &^ blockRaw)
	if word&blockRaw != 0 {
		if n > len(out) {
			return 0, expand.ErrTooLong
		}
		return n, r.readAt(out[:n], start)
	}
	packed := make([]byte, n)
	if err := r.readAt(packed, start); err != nil {
		return 0, err
	}
	return r.unpack(out, packed)
}

// fragment returns a fragment block's content, which must not be changed.
func (r *Reader) fragment(index uint32) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.recent {
		if x.data != nil && x.index == index {
			return x.data, nil
		}
	}
	f := &r.frags[index]
	out := make([]byte, r.super.BlockSize)
	n, err := r.expandSome(out, f.start, f.word)
	if err != nil {
		return nil, err
	}
	r.recent[r.next] = expanded{index, out[:n]}
	r.next = (r.next + 1) % len(r.recent)
	return out[:n], nil
}
