package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"ore"
)

// How blobs are cut. The numbers are a compromise between the length of the
// list and what is fetched in vain. They are part of the format, as are the rules
// by which this file goes: with others a blob has another root than the one that
// its builder signed.
const (
	// whole is the size from which a stored block is a chunk of its own. Of a
	// Debian tree, two of three blocks of 256 KiB are larger when compressed.
	whole = 32 << 10
	// joined is when joined small blocks end, at the latest.
	joined = 64 << 10
	// Content-defined chunks: no cut before cutLeast, on average one every
	// cutMask+1 bytes after it, one after cutMost at the latest.
	cutLeast = 4 << 10
	cutMask  = 16<<10 - 1
	cutMost  = 128 << 10
)

// Make cuts the size bytes of r, which must not change meanwhile.
func Make(ctx context.Context, r io.ReaderAt, size int64) (List, error) {
	l := List{Size: size}
	if size > MaxSize {
		return l, fmt.Errorf("cut blob of %d bytes: more than %d", size, int64(MaxSize))
	}
	whole := hashed(io.NewSectionReader(r, 0, size))
	c := cutter{list: &l, in: whole}
	err := c.cut(ctx, layout(r, size).segments)
	l.Blob = whole.end()
	if err != nil {
		return l, fmt.Errorf("cut blob: %w", err)
	}
	if len(l.Chunks) > MaxChunks {
		return l, fmt.Errorf("cut blob of %d bytes: more than %d chunks", size, MaxChunks)
	}
	return l, nil
}

// cutter collects the bytes of a chunk.
type cutter struct {
	list *List
	in   io.Reader
	buf  []byte // the chunk that is being collected
	at   int64  // where it begins
}

// cut takes in all segments.
func (c *cutter) cut(ctx context.Context, segments []segment) error {
	for _, s := range segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.segment(s); err != nil {
			return err
		}
	}
	c.end()
	return nil
}

// end makes a chunk of what was collected.
func (c *cutter) end() {
	if len(c.buf) == 0 {
		return
	}
	c.list.Chunks = append(c.list.Chunks, Chunk{Offset: c.at, Size: int64(len(c.buf)), Digest: ore.DigestOf(c.buf)})
	c.at += int64(len(c.buf))
	c.buf = c.buf[:0]
}

// segment takes in the next segment of the blob.
func (c *cutter) segment(s segment) error {
	if s.kind != dataBlock {
		c.end()
		return c.byContent(s.length)
	}
	if s.length >= whole {
		c.end()
	}
	n := len(c.buf)
	c.buf = append(c.buf, make([]byte, s.length)...)
	if err := c.read(c.buf[n:]); err != nil {
		return err
	}
	if s.length >= whole || len(c.buf) >= joined {
		c.end()
	}
	return nil
}

func (c *cutter) read(b []byte) error {
	_, err := io.ReadFull(c.in, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// byContent cuts n bytes where a rolling hash of the last 64 says so.
func (c *cutter) byContent(n int64) error {
	gear := gears()
	hash := uint64(0)
	var room [4096]byte
	for n > 0 {
		b := room[:min(n, int64(len(room)))]
		if err := c.read(b); err != nil {
			return err
		}
		n -= int64(len(b))
		for _, x := range b {
			hash = hash<<1 + gear[x]
			c.buf = append(c.buf, x)
			if len(c.buf) >= cutMost || len(c.buf) >= cutLeast && hash>>40&cutMask == 0 {
				c.end()
				hash = 0
			}
		}
	}
	c.end()
	return nil
}

// gears returns a random number for each byte, always the same (gear hashing:
// W. Xia et al., "Ddelta", 2014). They are made by SplitMix64.
func gears() *[256]uint64 {
	var g [256]uint64
	x := uint64(0)
	for i := range g {
		x += 0x9E3779B97F4A7C15
		z := x
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		g[i] = z ^ z>>31
	}
	return &g
}
