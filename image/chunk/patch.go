package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"ore"
)

// Limits of patches.
const (
	// MaxContent bounds the expanded content on each side of a patch, which is
	// held in memory. Where more has changed, chunks serve as well.
	MaxContent = 64 << 20
	// MaxPatch bounds the bytes of a patch: content that does not compress.
	MaxPatch = MaxContent + 16<<20
	// maxOperations bounds the list of operations: one for each block of a large
	// image.
	maxOperations = 1 << 20
	// maxLevel is the highest level of zstd.
	maxLevel = 22
)

// ErrPatch is what errors of damaged patches match.
var ErrPatch = errors.New("damaged patch")

// ErrTooMuch says that a patch would be larger than it may be: chunks are
// fetched instead.
var ErrTooMuch = errors.New("too much has changed for a patch")

const patchMagic = "orepatch\x01"

// verb says what an operation does.
type verb byte

const (
	// copyOld takes length bytes of the old image, from where the last copy
	// ended plus move.
	copyOld verb = iota
	// packBlock compresses length bytes of content as one block.
	packBlock
	// packMeta makes metadata blocks of length bytes of content.
	packMeta
	// plain takes length bytes of content as they are.
	plain
	verbs
)

// operation is one step in making the new image. It is stored as a number,
// length*verbs + verb, and for copyOld a signed number, move.
type operation struct {
	verb   verb
	length int64
	move   int64
}

// Patch tells one image as what changed from another.
type Patch struct {
	From, To ore.Digest // of the images
	Size     int64      // of the new one

	blockSize, level int
	operations       []operation
	content          int // bytes of expanded content
	delta            []byte
}

// Encode returns the patch's bytes.
func (p *Patch) Encode() []byte {
	b := appendDigest([]byte(patchMagic), p.From)
	b = appendDigest(b, p.To)
	for _, n := range []int64{p.Size, int64(p.blockSize), int64(p.level), int64(len(p.operations))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, o := range p.operations {
		b = binary.AppendUvarint(b, uint64(o.length)*uint64(verbs)+uint64(o.verb))
		if o.verb == copyOld {
			b = binary.AppendVarint(b, o.move)
		}
	}
	b = binary.AppendUvarint(b, uint64(p.content))
	return append(b, p.delta...)
}

// DecodePatch reads and checks what Encode made. The patch keeps b.
func DecodePatch(b []byte) (*Patch, error) {
	if len(b) > MaxPatch {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrPatch, len(b), MaxPatch)
	}
	d := parser{b: b}
	d.magic(patchMagic)
	p := &Patch{From: d.digest(), To: d.digest(), Size: d.number(MaxSize)}
	p.blockSize = int(d.number(maxBlock))
	p.level = int(d.number(maxLevel))
	n := d.number(int64(min(maxOperations, len(d.b))))
	if d.err == nil {
		p.operations = make([]operation, 0, n)
	}
	content, at := int64(0), int64(0)
	for range n {
		o := d.operation()
		if o.verb == copyOld {
			at += o.length
		} else {
			content += o.length
		}
		if d.err == nil && content > MaxContent || at > p.Size {
			d.err = errors.New("operations make more than the image has")
		}
		if d.err != nil {
			break
		}
		p.operations = append(p.operations, o)
	}
	p.content = int(d.number(MaxContent))
	if d.err == nil && int64(p.content) != content {
		d.err = fmt.Errorf("content of %d bytes, of which %d are used", p.content, content)
	}
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPatch, d.err)
	}
	p.delta = d.b
	return p, nil
}

// operation reads one.
func (p *parser) operation() operation {
	v := p.number(MaxSize)
	o := operation{verb: verb(v % int64(verbs)), length: v / int64(verbs)}
	if o.verb == copyOld {
		o.move = p.signed(MaxSize)
	}
	switch {
	case p.err != nil:
	case o.length == 0:
		p.err = errors.New("an operation on no bytes")
	case o.verb == packBlock && o.length > maxBlock:
		p.err = fmt.Errorf("a block of %d bytes", o.length)
	}
	return o
}
