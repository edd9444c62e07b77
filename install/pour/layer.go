package pour

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"ore/install/pour/blob"
	"ore/squashfs"
)

// maxWorkers bounds those that expand blocks. Each has the tables opened for
// itself, which for a large image takes some ten MiB, and no disk or line that a
// machine is installed over is faster than so many.
const maxWorkers = 4

// workers is how many expand blocks at once.
func workers() int { return min(runtime.NumCPU(), maxWorkers) }

// layer is a layer whose tables have come.
type layer struct {
	blob   blob.Blob
	client *blob.Client
	meter  *meter
	used   map[string]bool // places that gave bytes of it
	tables
	reader *squashfs.Reader // of no block
}

// openLayer reads a layer's tables.
func openLayer(ctx context.Context, c *blob.Client, b blob.Blob, m *meter) (*layer, error) {
	l := &layer{blob: b, client: c, meter: m, used: map[string]bool{}, tables: tables{size: b.Size}}
	if b.Size < headSize {
		return nil, fmt.Errorf("%d bytes are no squashfs image", b.Size)
	}
	var err error
	if l.head, err = l.read(ctx, 0, headSize); err != nil {
		return nil, err
	}
	if l.first, err = split(l.head, l.size); err != nil {
		return nil, err
	}
	if l.tail, err = l.read(ctx, l.first, l.size); err != nil {
		return nil, err
	}
	l.reader, err = squashfs.NewReader(&near{tables: &l.tables}, l.size)
	return l, err
}

// read reads a range into memory.
func (l *layer) read(ctx context.Context, from, to int64) ([]byte, error) {
	b := make([]byte, to-from)
	s := l.client.Open(ctx, l.blob, from, to)
	defer s.Close()
	_, err := io.ReadFull(s, b)
	l.came(s, to-from)
	return b, err
}

// came notes that bytes came, and where from.
func (l *layer) came(s *blob.Stream, n int64) {
	l.meter.add(n)
	for _, place := range s.Used() {
		l.used[place] = true
	}
}

// batch is a stored block and what is made of it.
type batch struct {
	span
	parts  []part
	stored []byte // while it is worked on
}

// part is a block of a file.
type part struct {
	node  *node
	index int64 // of the block in the file
}

// worker expands blocks.
type worker struct {
	near   near
	reader *squashfs.Reader
	name   string         // of the file that is open, "" for none
	file   *squashfs.File // that
	room   []byte
}

func (l *layer) worker() (*worker, error) {
	w := &worker{near: near{tables: &l.tables}, room: make([]byte, l.blockSize())}
	var err error
	w.reader, err = squashfs.NewReader(&w.near, l.size)
	return w, err
}

// content returns block number i of the file at a path of the layer.
func (w *worker) content(n *node, i int64) ([]byte, error) {
	if w.name != n.Path {
		f, err := w.reader.Open(n.Path)
		if err != nil {
			return nil, err
		}
		w.name, w.file = n.Path, f
	}
	size := int64(len(w.room))
	b := w.room[:min(size, n.Size-i*size)]
	if _, err := w.file.ReadAt(b, i*size); err != nil {
		return nil, err
	}
	return b, nil
}

// locate finds out in which blocks the files' content is, and returns these in
// the order in which they come.
func (l *layer) locate(ctx context.Context, team []*worker, files []*node) ([]*batch, error) {
	found := make([]map[span]*batch, len(team))
	g, ctx := errgroup.WithContext(ctx)
	for k, w := range team {
		found[k] = map[span]*batch{}
		g.Go(func() error {
			for i := k; i < len(files); i += len(team) {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := w.locate(files[i], found[k]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := found[0]
	for _, more := range found[1:] {
		for s, b := range more {
			if all[s] == nil {
				all[s] = b
			} else {
				all[s].parts = append(all[s].parts, b.parts...)
			}
		}
	}
	return l.order(all)
}

// locate adds the blocks of a file. Blocks of zeros are nowhere.
func (w *worker) locate(n *node, found map[span]*batch) error {
	f, err := w.reader.Open(n.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	size := int64(len(w.room))
	for i := int64(0); i*size < n.Size; i++ {
		r := f.Stored(int(i))
		if r.Length == 0 {
			continue
		}
		at := span{r.Offset, r.Length}
		b := found[at]
		if b == nil {
			b = &batch{span: at}
			found[at] = b
		}
		b.parts = append(b.parts, part{n, i})
		n.left.Add(1)
	}
	return nil
}

// order sorts blocks by where they are stored.
func (l *layer) order(all map[span]*batch) ([]*batch, error) {
	list := make([]*batch, 0, len(all))
	for _, b := range all {
		slices.SortFunc(b.parts, func(a, b part) int {
			return cmp.Or(cmp.Compare(a.node.Path, b.node.Path), cmp.Compare(a.index, b.index))
		})
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b *batch) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.n, b.n)) })
	end := int64(headSize)
	for _, b := range list {
		if b.at < end || b.at+b.n > l.first {
			return nil, fmt.Errorf("the block of %d bytes at byte %d overlaps others", b.n, b.at)
		}
		end = b.at + b.n
	}
	return list, nil
}
