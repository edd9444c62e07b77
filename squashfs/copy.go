package squashfs

import (
	"errors"
	"fmt"
)

// sourceFrag names a fragment block of another image.
type sourceFrag struct {
	r     *Reader
	index uint32
}

// AddFrom adds e, a regular file, with the content that path has in r, whose
// size must be e.Size. When r has the Writer's block size and compression, the
// stored blocks are copied as they are; of a fragment block the whole, once,
// when the first file in it is added. Otherwise the content is compressed
// anew. r's file must stay readable until Close.
func (w *Writer) AddFrom(e Entry, r *Reader, path string) error {
	src, err := r.file(path)
	switch {
	case err != nil:
	case e.Hardlink != "" || !e.Mode.IsRegular():
		err = errors.New("not a regular file")
	case src.Size != e.Size:
		err = fmt.Errorf("size %d: the source has %d", e.Size, src.Size)
	}
	if err != nil {
		return w.fail("add", e.Path, err)
	}
	if !w.same(r) {
		f, err := r.open(src)
		if err != nil {
			return w.fail("add", e.Path, err)
		}
		return w.Add(e, f)
	}
	ino, err := w.begin(e)
	if err != nil {
		return err
	}
	if ino.blocks, err = r.blockList(src); err != nil {
		return w.fail("add", e.Path, err)
	}
	if n := storedSize(ino.blocks); n > 0 {
		s := w.extend(r, src.start, n)
		s.files = append(s.files, placedFile{ino, src.start - s.from})
	}
	if src.frag != noFragment {
		ino.frag, ino.offset = w.copyFragment(r, src.frag), src.offset
	}
	return nil
}

// same reports whether r's blocks can stand in w's image.
func (w *Writer) same(r *Reader) bool {
	return r.compression == w.o.Compression && int(r.super.BlockSize) == w.o.BlockSize
}

// copyFragment returns the copy of r's fragment block.
func (w *Writer) copyFragment(r *Reader, index uint32) *fragment {
	key := sourceFrag{r, index}
	if f := w.taken[key]; f != nil {
		return f
	}
	src := r.frags[index]
	f := w.newFragment()
	f.word = src.word
	w.taken[key] = f
	s := w.extend(r, src.start, int64(src.word&^blockRaw))
	s.frags = append(s.frags, placedFragment{f, src.start - s.from})
	return f
}

// extend makes the range part of the span that is being collected, or of a new
// one if it does not follow it.
func (w *Writer) extend(r *Reader, from, n int64) *span {
	if w.span == nil || w.span.r != r || w.span.from+w.span.n != from {
		w.flushSpan()
		w.span = &span{r: r, from: from}
	}
	w.span.n += n
	return w.span
}

// flushSpan gives the span that is being collected to the pipeline.
func (w *Writer) flushSpan() {
	if w.span != nil {
		w.pipe.copySpan(w.span)
		w.span = nil
	}
}

// storedSize returns how many bytes blocks with these size words take.
func storedSize(words []uint32) int64 {
	n := int64(0)
	for _, w := range words {
		n += int64(w &^ blockRaw)
	}
	return n
}
