package squashfs

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// pipeline takes blocks in order, compresses them on several goroutines and
// stores them in order; what is copied from elsewhere has its place in that order,
// and the same goroutines copy it there. Its memory is bounded by the number of its pieces'
// buffers. One goroutine at a time may give it work.
//
// What it learns about positions it writes into the inodes and fragments that
// the pieces name; they may be read once finish has returned.
type pipeline struct {
	w     io.WriterAt
	pos   int64       // where the next piece is stored; the storing goroutine's until finish
	free  chan *piece // pieces at rest; receiving from it bounds the memory
	work  chan *piece // to the compressing goroutines
	order chan *piece // to the storing goroutine, in the order of the image
	parts chan part   // of spans, from the storing goroutine to the compressing ones
	group sync.WaitGroup
	bad   atomic.Pointer[error] // the first error of a goroutine
	block int
}

// piece is a block on its way, or a span to be copied.
type piece struct {
	in    []byte        // the block's content
	room  []byte        // memory for its compressed form
	data  []byte        // what is stored: in, or in room; nil for zeros
	word  uint32        // size and flag as the image has it
	ready chan struct{} // gets a value when data and word are set
	file  *inode        // whose next block this is, or
	frag  *fragment     // which this is, or
	span  *span         // what to copy
}

// part is so much of a span as is copied at once, and its place in the image.
type part struct {
	r       *Reader
	from, n int64
	to      int64
}

// fragment is a block shared by several small files.
type fragment struct {
	index uint32
	start int64
	word  uint32
}

// roomBeyond is by how much compressed data may be longer than the block
// before the compressor has to allocate memory (zstd needs a few bytes for
// each 128 KiB and for its frame).
const roomBeyond = 512

// piecesPerJob: one that is compressed, one that waits for its turn to be
// compressed and one that waits for its turn to be stored.
const piecesPerJob = 3

func newPipeline(w io.WriterAt, pos int64, o Options) (*pipeline, error) {
	n := piecesPerJob*o.Jobs + 1
	p := &pipeline{
		w: w, pos: pos, block: o.BlockSize,
		free: make(chan *piece, n), work: make(chan *piece, n), order: make(chan *piece, n), parts: make(chan part),
	}
	for range n {
		p.free <- &piece{ready: make(chan struct{}, 1)}
	}
	p.group.Go(func() {
		o.begin()
		defer close(p.parts)
		p.store()
	})
	for range o.Jobs {
		c, err := newCompressor(o)
		if err != nil {
			p.finish()
			return nil, err
		}
		p.group.Go(func() {
			o.begin()
			p.compress(c)
		})
	}
	return p, nil
}

// begin is what each goroutine of a pipeline does first.
func (o Options) begin() {
	if o.Thread != nil {
		o.Thread()
	}
}

// take returns a free piece with an empty block's memory.
func (p *pipeline) take() *piece {
	x := <-p.free
	if x.in == nil {
		x.in = make([]byte, p.block)
		x.room = make([]byte, 0, p.block+roomBeyond)
	}
	x.in = x.in[:0]
	x.file, x.frag, x.span = nil, nil, nil
	return x
}

// put hands x over. Its block belongs to file or to frag.
func (p *pipeline) put(x *piece) {
	p.work <- x
	p.order <- x
}

// copySpan stores s as it is, after all that was put before.
func (p *pipeline) copySpan(s *span) {
	p.order <- &piece{span: s}
}

// finish waits until all that was put is stored and ends the goroutines. It
// must be called exactly once.
func (p *pipeline) finish() error {
	close(p.work)
	close(p.order)
	p.group.Wait()
	return p.err()
}

func (p *pipeline) err() error {
	if e := p.bad.Load(); e != nil {
		return *e
	}
	return nil
}

// compress takes blocks and parts of spans as they come, until there are no more of
// either.
func (p *pipeline) compress(c compressor) {
	var buf []byte
	for work, parts := p.work, p.parts; work != nil || parts != nil; {
		select {
		case x, ok := <-work:
			if !ok {
				work = nil
				continue
			}
			x.pack(c)
			x.ready <- struct{}{}
		case s, ok := <-parts:
			if !ok {
				parts = nil
				continue
			}
			if buf == nil {
				buf = make([]byte, copySize)
			}
			if p.err() == nil {
				p.check(s.copy(p.w, buf[:s.n]))
			}
		}
	}
}

// pack sets data and word from in.
func (x *piece) pack(c compressor) {
	if x.file != nil && allZero(x.in) {
		x.data, x.word = nil, 0
		return
	}
	x.data = c(x.room, x.in)
	x.word = uint32(len(x.data))
	if x.data == nil {
		x.data, x.word = x.in, uint32(len(x.in))|blockRaw
	}
}

func (p *pipeline) store() {
	for x := range p.order {
		if x.span != nil {
			p.storeSpan(x.span)
			continue
		}
		<-x.ready
		if p.err() == nil {
			p.check(p.storeBlock(x))
		}
		p.free <- x
	}
}

func (p *pipeline) check(err error) {
	if err != nil {
		p.bad.CompareAndSwap(nil, &err)
	}
}

func (p *pipeline) storeBlock(x *piece) error {
	if x.frag != nil {
		x.frag.start, x.frag.word = p.pos, x.word
	} else {
		if len(x.file.blocks) == 0 {
			x.file.start = p.pos
		}
		x.file.blocks = append(x.file.blocks, x.word)
	}
	return p.write(x.data)
}

func (p *pipeline) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := p.w.WriteAt(b, p.pos); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	p.pos += int64(len(b))
	return nil
}

// zeros is what a block of zeros is compared with, a part at a time.
var zeros [4096]byte

// allZero reports whether b holds nothing but zeros.
func allZero(b []byte) bool {
	for len(b) > len(zeros) {
		if [len(zeros)]byte(b) != zeros {
			return false
		}
		b = b[len(zeros):]
	}
	return string(b) == string(zeros[:len(b)])
}

// span is a range of another image that is copied as it is, and what lies in
// it.
type span struct {
	r     *Reader
	from  int64
	n     int64
	files []placedFile
	frags []placedFragment
}

type placedFile struct {
	file  *inode
	delta int64 // from the span's beginning
}

type placedFragment struct {
	frag  *fragment
	delta int64
}

// copySize is how much of a span is read at a time: enough that the calls cost
// nothing against the copying, little enough to stay in the processor's cache.
const copySize = 256 << 10

// storeSpan gives s its place, and has it copied there.
func (p *pipeline) storeSpan(s *span) {
	for _, f := range s.files {
		f.file.start = p.pos + f.delta
	}
	for _, f := range s.frags {
		f.frag.start = p.pos + f.delta
	}
	for off, end := s.from, s.from+s.n; off < end && p.err() == nil; {
		n := min(copySize, end-off)
		p.parts <- part{s.r, off, n, p.pos}
		off, p.pos = off+n, p.pos+n
	}
}

// copy copies the part into w by way of buf, which is as long.
func (s part) copy(w io.WriterAt, buf []byte) error {
	if err := s.r.readAt(buf, s.from); err != nil {
		return fmt.Errorf("read source image: %w", err)
	}
	if _, err := w.WriteAt(buf, s.to); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return nil
}
