package chunk

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ore/image/chunk/delta"
)

// Apply writes the new image to out, from offset 0 on. It does not check that
// this has the digest p.To: what takes the file in does, as with any blob.
func (p *Patch) Apply(ctx context.Context, old *os.File, out *os.File) error {
	if err := p.apply(ctx, old, out); err != nil {
		return fmt.Errorf("apply patch to %s: %w", p.From.Short(), err)
	}
	return nil
}

// applier makes the new image.
type applier struct {
	*Patch
	old, out *os.File
	size     int64 // of old
	at       int64 // in out
	from     int64 // in old
	content  []byte
	packer   *packer
	buf      []byte
}

func (p *Patch) apply(ctx context.Context, old, out *os.File) error {
	info, err := old.Stat()
	if err != nil {
		return err
	}
	a := &applier{Patch: p, old: old, out: out, size: info.Size()}
	ranges, err := a.copies()
	if err != nil {
		return err
	}
	before, err := oldContent(old, layout(old, a.size), func(at int64) bool { return covered(ranges, at) })
	if err != nil {
		return err
	}
	if a.content, err = delta.Decode(before, p.delta, p.content); err != nil {
		return err
	}
	if len(a.content) != p.content {
		return fmt.Errorf("%w: content of %d bytes, not %d", ErrPatch, len(a.content), p.content)
	}
	if a.packer, err = newPacker(max(p.blockSize, metaSize), p.level); err != nil {
		return err
	}
	for _, o := range p.operations {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.do(o); err != nil {
			return err
		}
	}
	if a.at != p.Size {
		return fmt.Errorf("%w: it makes %d bytes, not %d", ErrPatch, a.at, p.Size)
	}
	return nil
}

// copies returns the ranges of old that are copied, in order of their place.
func (a *applier) copies() ([]segment, error) {
	var all []segment
	at := int64(0)
	for _, o := range a.operations {
		if o.verb != copyOld {
			continue
		}
		at += o.move
		if at < 0 || o.length > a.size-at {
			return nil, fmt.Errorf("%w: it copies beyond the old image", ErrPatch)
		}
		all = append(all, segment{dataBlock, at, o.length})
		at += o.length
	}
	slices.SortFunc(all, func(x, y segment) int { return int(x.offset - y.offset) })
	// A block may be copied more than once: ranges that overlap become one, so
	// that a place can be looked up.
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && s.offset <= out[n-1].offset+out[n-1].length {
			out[n-1].length = max(out[n-1].length, s.offset+s.length-out[n-1].offset)
			continue
		}
		out = append(out, s)
	}
	return out, nil
}

// covered says whether one of the sorted ranges has the place.
func covered(ranges []segment, at int64) bool {
	i, ok := slices.BinarySearchFunc(ranges, at, func(s segment, at int64) int { return int(s.offset - at) })
	if ok {
		return true
	}
	return i > 0 && at < ranges[i-1].offset+ranges[i-1].length
}

func (a *applier) do(o operation) error {
	switch o.verb {
	case copyOld:
		a.from += o.move
		n, err := copyRange(a.out, a.at, a.old, segment{literal, a.from, o.length})
		a.from += n
		a.at += n
		return err
	case packBlock:
		c := a.take(o.length)
		if b := a.packer.block(c); b != nil {
			c = b
		}
		return a.write(c)
	case packMeta:
		a.buf = a.buf[:0]
		for part := range slices.Chunk(a.take(o.length), metaSize) {
			a.buf = a.packer.meta(a.buf, part)
		}
		return a.write(a.buf)
	}
	return a.write(a.take(o.length))
}

// take returns the next bytes of the content, whose sum DecodePatch has checked.
func (a *applier) take(n int64) []byte {
	c := a.content[:n]
	a.content = a.content[n:]
	return c
}

func (a *applier) write(b []byte) error {
	if a.at+int64(len(b)) > a.Size {
		return fmt.Errorf("%w: it makes more than %d bytes", ErrPatch, a.Size)
	}
	n, err := a.out.WriteAt(b, a.at)
	a.at += int64(n)
	return err
}

// Copy copies the first size bytes of in to out; where the file system can,
// without moving them.
func Copy(out, in *os.File, size int64) error {
	if _, err := copyRange(out, 0, in, segment{literal, 0, size}); err != nil {
		return fmt.Errorf("copy %s: %w", in.Name(), err)
	}
	return nil
}

// copyRange copies a range of a file to a place in another; where the file
// system can, without moving the bytes.
func copyRange(out *os.File, at int64, in *os.File, s segment) (int64, error) {
	done := int64(0)
	for done < s.length {
		from, to := s.offset+done, at+done
		n, err := unix.CopyFileRange(int(in.Fd()), &from, int(out.Fd()), &to, int(min(s.length-done, 1<<30)), 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break // other file systems refuse: then as everywhere
		}
		done += int64(n)
	}
	if done == s.length {
		return done, nil
	}
	rest := io.NewSectionReader(in, s.offset+done, s.length-done)
	n, err := io.Copy(io.NewOffsetWriter(out, at+done), rest)
	if err == nil && n < s.length-done {
		err = io.ErrUnexpectedEOF
	}
	return done + n, err
}
