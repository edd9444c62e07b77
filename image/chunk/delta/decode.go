package delta

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// ErrCorrupt is what Decode's errors match.
var ErrCorrupt = errors.New("damaged delta")

// Decode makes the new bytes from old and what Encode returned. More than limit
// new bytes are refused before memory is taken for them.
func Decode(old, patch []byte, limit int) ([]byte, error) {
	d := reader{b: patch}
	if len(patch) == 0 || patch[0] != version {
		return nil, fmt.Errorf("decode delta: %w: unknown version", ErrCorrupt)
	}
	d.b = d.b[1:]
	size := d.number(limit)
	// A command is worth at least one byte of output, and takes at most three
	// numbers.
	control := d.stream(min(size, maxCommands) * 3 * binary.MaxVarintLen64)
	difference := d.stream(size)
	extra := d.stream(size)
	if d.err == nil && (len(difference)+len(extra) != size || len(d.b) > 0) {
		d.err = fmt.Errorf("%w: lengths do not add up", ErrCorrupt)
	}
	if d.err != nil {
		return nil, fmt.Errorf("decode delta: %w", d.err)
	}
	out, err := replay(old, control, difference, extra)
	if err != nil {
		return nil, fmt.Errorf("decode delta: %w", err)
	}
	return out, nil
}

// maxCommands bounds the control stream: 4 million commands are 48 MiB of new
// bytes at the shortest match.
const maxCommands = 4 << 20

// reader takes a patch apart. After its first error it gives nothing.
type reader struct {
	b   []byte
	err error
}

// number reads one that is at most limit.
func (r *reader) number(limit int) int {
	v, n := binary.Uvarint(r.b)
	if r.err == nil && (n <= 0 || v > uint64(limit)) {
		r.err = fmt.Errorf("%w: a number is missing or beyond %d", ErrCorrupt, limit)
	}
	if r.err != nil {
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

// stream reads one of at most limit bytes.
func (r *reader) stream(limit int) []byte {
	size := r.number(limit)
	packed := r.number(len(r.b))
	if r.err != nil {
		return nil
	}
	b := r.b[:min(packed, len(r.b))]
	r.b = r.b[len(b):]
	if len(b) != packed {
		r.err = fmt.Errorf("%w: truncated", ErrCorrupt)
		return nil
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		r.err = err
		return nil
	}
	defer z.Close()
	out, err := z.DecodeAll(b, make([]byte, 0, plausible(size, packed)))
	if err != nil || len(out) != size {
		r.err = fmt.Errorf("%w: a stream does not expand to %d bytes", ErrCorrupt, size)
	}
	return out
}

// most is by how much a zstd frame can be smaller than its content: a block of
// 128 KiB takes at least 4 bytes (RFC 8878, 3.1.1.2). What claims more is cut,
// and so found to be damaged, before memory is taken for it.
const most = 128 << 10 / 4

func plausible(size, packed int) int { return min(size, packed*most) }

// replay carries the commands out.
func replay(old, control, difference, extra []byte) ([]byte, error) {
	out := make([]byte, 0, len(difference)+len(extra))
	c := reader{b: control}
	for pos := 0; len(c.b) > 0; {
		fresh, n := c.number(len(extra)), c.number(len(difference))
		move, k := binary.Varint(c.b)
		if c.err != nil || k <= 0 {
			return nil, fmt.Errorf("%w: a command", ErrCorrupt)
		}
		c.b = c.b[k:]
		if move < int64(-pos) || move > int64(len(old)-pos) || n > len(old)-pos-int(move) {
			return nil, fmt.Errorf("%w: a command leads out of the old bytes", ErrCorrupt)
		}
		pos += int(move)
		out = append(out, extra[:fresh]...)
		extra = extra[fresh:]
		for i, x := range difference[:n] {
			out = append(out, x+old[pos+i])
		}
		difference = difference[n:]
		pos += n
	}
	if len(difference)+len(extra) > 0 {
		return nil, fmt.Errorf("%w: bytes are left over", ErrCorrupt)
	}
	return out, nil
}
