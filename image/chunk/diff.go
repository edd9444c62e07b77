package chunk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"ore"
	"ore/image/chunk/delta"
)

// Blob is a blob that can be read, with its name.
type Blob struct {
	io.ReaderAt
	Digest ore.Digest
	Size   int64
}

// Diff makes a patch that turns old into next. It matches [ErrTooMuch] if that
// would take more memory than a patch may.
func Diff(ctx context.Context, old, next Blob) (*Patch, error) {
	d := &differ{old: old, next: next, patch: &Patch{From: old.Digest, To: next.Digest, Size: next.Size}}
	if err := d.run(ctx); err != nil {
		return nil, fmt.Errorf("make patch from %s to %s: %w", old.Digest.Short(), next.Digest.Short(), err)
	}
	return d.patch, nil
}

type differ struct {
	old, next Blob
	patch     *Patch
	*expander
	packer  *packer
	places  map[[sha256.Size]byte]segment // blocks of old by their bytes
	form    form                          // of old
	copied  map[int64]bool                // offsets of those that are copied
	last    int64                         // where the last copy ended in old
	content []byte
	buf     []byte
}

func (d *differ) run(ctx context.Context) (err error) {
	if d.expander, err = newExpander(); err != nil {
		return err
	}
	d.form = layout(d.old, d.old.Size)
	if err := d.hash(ctx); err != nil {
		return err
	}
	next := layout(d.next, d.next.Size)
	if err := d.level(next); err != nil {
		return err
	}
	for _, s := range next.segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.segment(s); err != nil {
			return err
		}
		if len(d.content) > MaxContent || len(d.patch.operations) > maxOperations {
			return ErrTooMuch
		}
	}
	before, err := oldContent(d.old, d.form, func(at int64) bool { return d.copied[at] })
	if err != nil {
		return err
	}
	d.patch.content = len(d.content)
	d.patch.delta, err = delta.Encode(before, d.content)
	return err
}

// hash finds old's blocks by their bytes.
func (d *differ) hash(ctx context.Context) error {
	d.places, d.copied = map[[sha256.Size]byte]segment{}, map[int64]bool{}
	for _, s := range d.form.segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.kind != dataBlock {
			continue
		}
		b, err := readSegment(d.old, s, d.buf)
		if err != nil {
			return err
		}
		d.buf = b
		d.places[sha256.Sum256(b)] = s
	}
	return nil
}

// levels are representatives of all that the compressor distinguishes, the
// usual one first.
var levels = [...]int{1, 3, 7, 11}

// level finds out with which level next was compressed. Blocks for which it is
// wrong are told as they are stored.
func (d *differ) level(next form) error {
	const enough = 4 // blocks to try with
	d.patch.blockSize = next.blockSize
	best := -1
	for _, level := range levels {
		p, err := newPacker(next.blockSize, level)
		if err != nil {
			return err
		}
		hits, tried := 0, 0
		for _, s := range next.segments {
			if s.kind == literal || tried == enough {
				continue
			}
			b, err := readSegment(d.next, s, d.buf)
			if err != nil {
				return err
			}
			d.buf = b
			tried++
			if c, ok := d.expander.content(s.kind, b); ok && p.same(s.kind, c, b) {
				hits++
			}
		}
		if hits > best {
			best, d.packer, d.patch.level = hits, p, level
		}
		if hits == tried {
			return nil
		}
	}
	return nil
}

// same says whether content compressed is what is stored.
func (p *packer) same(k kind, content, stored []byte) bool {
	if k == metaBlock {
		return bytes.Equal(p.meta(nil, content), stored)
	}
	return bytes.Equal(p.block(content), stored)
}

// segment tells the next segment of the new image.
func (d *differ) segment(s segment) error {
	if s.kind == literal && s.length > MaxContent {
		return ErrTooMuch
	}
	b, err := readSegment(d.next, s, d.buf)
	if err != nil {
		return err
	}
	d.buf = b
	if s.kind == dataBlock {
		if from, ok := d.places[sha256.Sum256(b)]; ok {
			d.copied[from.offset] = true
			d.tell(operation{copyOld, s.length, from.offset - d.last})
			d.last = from.offset + from.length
			return nil
		}
	}
	c, ok := d.expander.content(s.kind, b)
	switch {
	case s.kind == literal || !ok || !d.packer.same(s.kind, c, b):
		d.content = append(d.content, b...)
		d.tell(operation{verb: plain, length: s.length})
	case s.kind == dataBlock:
		d.content = append(d.content, c...)
		d.tell(operation{verb: packBlock, length: int64(len(c))})
	default:
		d.content = append(d.content, c...)
		d.tell(operation{verb: packMeta, length: int64(len(c))})
	}
	return nil
}

// tell appends an operation, or makes the last one longer.
func (d *differ) tell(o operation) {
	if n := len(d.patch.operations); n > 0 {
		last := &d.patch.operations[n-1]
		joins := o.verb == last.verb && (o.verb == plain || o.verb == copyOld && o.move == 0 ||
			o.verb == packMeta && last.length%metaSize == 0)
		if joins {
			last.length += o.length
			return
		}
	}
	d.patch.operations = append(d.patch.operations, o)
}

// oldContent is what both sides compare the new content with: the expanded
// content of all of old that is not copied, as far as there is room for it.
func oldContent(old io.ReaderAt, f form, copied func(offset int64) bool) ([]byte, error) {
	x, err := newExpander()
	if err != nil {
		return nil, err
	}
	var all, buf []byte
	for _, s := range f.segments {
		if s.kind == dataBlock && copied(s.offset) {
			continue
		}
		if s.length > MaxContent {
			continue
		}
		if buf, err = readSegment(old, s, buf); err != nil {
			return nil, err
		}
		c, _ := x.content(s.kind, buf)
		if len(all)+len(c) > MaxContent {
			break
		}
		all = append(all, c...)
	}
	return all, nil
}
