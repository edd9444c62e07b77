package squashfs

import (
	"errors"
	"fmt"
	"io"
)

// Writer writes an image. Its methods are for one goroutine at a time.
//
// After an error of Add or AddFrom nothing good can come of the image: all
// later calls, Close among them, return that error.
type Writer struct {
	f     io.WriterAt
	o     Options
	pipe  *pipeline
	inode map[string]*inode // by path
	names []name            // all paths, in the order of Add
	tail  *piece            // the fragment block that is being filled, or nil
	frags []*fragment
	span  *span                    // of another image, not yet given to pipe, or nil
	taken map[sourceFrag]*fragment // fragment blocks copied from other images
	probe [1]byte                  // to find out whether content goes on
	size  int64                    // of the image, once closed
	err   error                    // the first error
	done  bool                     // Close or Abort was called
}

// name is a path and what it names.
type name struct {
	path string
	*inode
}

// inode is a file of the image, which can have several names.
type inode struct {
	Entry
	kind   uint16 // basic type
	links  uint32
	start  int64    // of the first block
	blocks []uint32 // sizes and flags, as stored
	frag   *fragment
	offset uint32 // in frag

	number uint32
	ref    uint64 // position in the inode table
	list   dirList
}

var errClosed = errors.New("writer is closed")

// NewWriter returns a Writer that writes an image to f from offset 0 on, which
// should be empty, from several goroutines at once. The superblock is written last, so that an image that was
// not finished is not taken for one. Close or Abort must be called.
func NewWriter(f io.WriterAt, o Options) (*Writer, error) {
	o, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("squashfs options: %w", err)
	}
	w := &Writer{f: f, o: o, inode: map[string]*inode{}, taken: map[sourceFrag]*fragment{}}
	if w.pipe, err = newPipeline(f, superblockSize+int64(len(compressorOptions(o))), o); err != nil {
		return nil, fmt.Errorf("squashfs options: %w", err)
	}
	return w, nil
}

// Add adds an entry. For a regular file content gives exactly e.Size bytes;
// else it is not read and may be nil. Parents may come later.
func (w *Writer) Add(e Entry, content io.Reader) error {
	ino, err := w.begin(e)
	if err != nil || ino == nil || ino.kind != typeFile {
		return err
	}
	if err := w.content(ino, content); err != nil {
		return w.fail("add", e.Path, err)
	}
	return nil
}

// begin checks and records e. It returns nil for a hard link.
func (w *Writer) begin(e Entry) (*inode, error) {
	if w.err == nil && w.done {
		w.err = errClosed
	}
	if w.err == nil {
		w.err = w.pipe.err()
	}
	if w.err != nil {
		return nil, w.err
	}
	err := e.check()
	switch {
	case err != nil:
	case e.Mode.IsRegular() && e.Size/int64(w.o.BlockSize) >= maxBlocks:
		err = fmt.Errorf("size %d: more than %d blocks of %d bytes", e.Size, maxBlocks, w.o.BlockSize)
	case w.inode[e.Path] != nil:
		err = errors.New("path was added before")
	}
	if err != nil {
		return nil, w.fail("add", e.Path, err)
	}
	if e.Hardlink != "" {
		return nil, w.addLink(e)
	}
	kind, _ := inodeType(e.Mode) // check has seen that it is one
	ino := &inode{Entry: e, kind: kind, links: 1}
	w.record(e.Path, ino)
	return ino, nil
}

func (w *Writer) record(path string, ino *inode) {
	w.inode[path] = ino
	w.names = append(w.names, name{path, ino})
}

func (w *Writer) addLink(e Entry) error {
	ino := w.inode[e.Hardlink]
	switch {
	case ino == nil:
		return w.fail("add", e.Path, fmt.Errorf("hard link to %s: which was not added before", e.Hardlink))
	case ino.kind == typeDir:
		return w.fail("add", e.Path, fmt.Errorf("hard link to %s: which is a folder", e.Hardlink))
	}
	ino.links++
	w.record(e.Path, ino)
	return nil
}

func (w *Writer) fail(op, path string, err error) error {
	w.err = fmt.Errorf("squashfs: %s %s: %w", op, path, err)
	return w.err
}

// content stores a regular file's data: as a part of a fragment block when it
// is shorter than a block, else in blocks of its own.
func (w *Writer) content(ino *inode, r io.Reader) error {
	if ino.Size < int64(w.o.BlockSize) {
		return w.small(ino, r)
	}
	w.flushSpan()
	for left := ino.Size; left > 0; {
		x := w.pipe.take()
		x.in = x.in[:min(left, int64(w.o.BlockSize))]
		if err := w.fill(x.in, r); err != nil {
			return err
		}
		left -= int64(len(x.in))
		x.file = ino
		w.pipe.put(x)
	}
	return w.end(r)
}

func (w *Writer) small(ino *inode, r io.Reader) error {
	if ino.Size == 0 {
		return w.end(r)
	}
	if w.tail != nil && int64(w.o.BlockSize-len(w.tail.in)) < ino.Size {
		w.flushTail()
	}
	if w.tail == nil {
		w.tail = w.pipe.take()
		w.tail.frag = w.newFragment()
	}
	x := w.tail
	used := len(x.in)
	ino.frag, ino.offset = x.frag, uint32(used)
	x.in = x.in[:used+int(ino.Size)]
	if err := w.fill(x.in[used:], r); err != nil {
		return err
	}
	return w.end(r)
}

// fill reads all of b from r.
func (w *Writer) fill(b []byte, r io.Reader) error {
	if r == nil {
		return io.ErrUnexpectedEOF
	}
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// end checks that r gives nothing more.
func (w *Writer) end(r io.Reader) error {
	if r == nil {
		return nil
	}
	switch n, err := io.ReadFull(r, w.probe[:]); {
	case n > 0:
		return errors.New("content is longer than the entry's size")
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

func (w *Writer) newFragment() *fragment {
	f := &fragment{index: uint32(len(w.frags))}
	w.frags = append(w.frags, f)
	return f
}

// flushTail gives the fragment block that is being filled to the pipeline.
func (w *Writer) flushTail() {
	if w.tail != nil {
		w.flushSpan()
		w.pipe.put(w.tail)
		w.tail = nil
	}
}

// Close stores what is left, and the tables that make it an image. A missing
// parent folder is found here. It does not close the file that NewWriter was
// given.
func (w *Writer) Close() error {
	if w.done {
		return w.err
	}
	w.done = true
	if w.err == nil {
		w.flushTail()
		w.flushSpan()
	}
	if err := w.pipe.finish(); w.err == nil {
		w.err = err
	}
	if w.err == nil {
		if err := w.finish(); err != nil {
			w.err = fmt.Errorf("squashfs: close: %w", err)
		}
	}
	return w.err
}

// Abort ends the Writer without making an image of what was added. After Close
// it does nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if !w.done {
		w.done, w.err = true, errClosed
		_ = w.pipe.finish() // its error is of no interest: the image is given up
	}
}

// Size returns how many bytes the image has, once Close has returned nil.
func (w *Writer) Size() int64 { return w.size }
