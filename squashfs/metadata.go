package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// cursor is a place in a stream of metadata blocks.
type cursor struct {
	block  int64 // where the block's header is in the image
	offset int   // in its content
}

// metaCache keeps the content of some metadata blocks.
type metaCache struct {
	mu     sync.Mutex
	blocks map[int64]metaContent // guarded by mu
	order  []int64               // keys of blocks, the oldest first; guarded by mu
}

type metaContent struct {
	data []byte
	next int64 // where the block that follows begins
}

// metaKept is how many metadata blocks a Reader keeps expanded: 256 KiB. Few
// are enough, since what belongs together is stored together.
const metaKept = 32

var errMetadata = errors.New("metadata outside of the image")

// metaBlock returns a metadata block's content, and where the next one begins.
func (r *Reader) metaBlock(pos int64) ([]byte, int64, error) {
	r.meta.mu.Lock()
	defer r.meta.mu.Unlock()
	if c, ok := r.meta.blocks[pos]; ok {
		return c.data, c.next, nil
	}
	c, err := r.expandMeta(pos)
	if err != nil {
		return nil, 0, err
	}
	if r.meta.blocks == nil {
		r.meta.blocks = map[int64]metaContent{}
	}
	if len(r.meta.order) == metaKept {
		delete(r.meta.blocks, r.meta.order[0])
		r.meta.order = r.meta.order[1:]
	}
	r.meta.order = append(r.meta.order, pos)
	r.meta.blocks[pos] = c
	return c.data, c.next, nil
}

// forget gives the cache's memory back.
func (c *metaCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks, c.order = nil, nil
}

func (r *Reader) expandMeta(pos int64) (metaContent, error) {
	end := int64(r.super.BytesUsed)
	if pos < superblockSize || pos > end-2 {
		return metaContent{}, errMetadata
	}
	var raw [2 + metaSize]byte
	b := raw[:min(int64(len(raw)), end-pos)]
	if err := r.readAt(b, pos); err != nil {
		return metaContent{}, err
	}
	header := binary.LittleEndian.Uint16(b)
	b = b[2:]
	n := int(header &^ metaRaw)
	if n == 0 || n > len(b) {
		return metaContent{}, errMetadata
	}
	c := metaContent{next: pos + 2 + int64(n)}
	if header&metaRaw != 0 {
		c.data = append([]byte(nil), b[:n]...)
		return c, nil
	}
	out := make([]byte, metaSize)
	m, err := r.unpack(out, b[:n])
	if err != nil {
		return c, fmt.Errorf("metadata block at %d: %w", pos, err)
	}
	if m == 0 {
		return c, errMetadata
	}
	c.data = out[:m]
	return c, nil
}

// read fills b from c on and moves c behind it.
func (r *Reader) read(b []byte, c *cursor) error {
	for len(b) > 0 {
		data, next, err := r.metaBlock(c.block)
		if err != nil {
			return err
		}
		switch {
		case c.offset < len(data):
			n := copy(b, data[c.offset:])
			b = b[n:]
			c.offset += n
		case c.offset > len(data) || len(data) < metaSize:
			return io.ErrUnexpectedEOF // only full blocks are followed by another
		default:
			c.block, c.offset = next, 0
		}
	}
	return nil
}

// skip moves c on by n bytes without looking at them.
func (r *Reader) skip(n int, c *cursor) error {
	var b [metaSize]byte
	for n > 0 {
		m := min(n, len(b))
		if err := r.read(b[:m], c); err != nil {
			return err
		}
		n -= m
	}
	return nil
}
