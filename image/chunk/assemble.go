package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"ore"
)

// Source is a local file whose chunks are known.
type Source struct {
	File *os.File
	List List
}

// Fetch gives the range [offset, offset+size) of the blob that is assembled.
// It may be called concurrently.
type Fetch func(ctx context.Context, offset, size int64) (io.ReadCloser, error)

// How ranges are fetched.
const (
	// maxRange joins missing chunks to one request: large enough that the time
	// between requests does not matter, small enough that several of them go on
	// at once in most blobs.
	maxRange = 4 << 20
	// parallel is how many ranges are fetched at once: more than one, so that a
	// slow answer does not leave the link idle.
	parallel = 4
	// gap is how many bytes are fetched in vain rather than asking twice.
	gap = 2 << 10
)

// Taken says where the bytes of an assembled blob came from.
type Taken struct {
	Kept    int64 // were in the file already
	Copied  int64 // from local files
	Fetched int64
}

// Assemble writes the blob of list to out. Chunks that are in out already, since
// an earlier call was interrupted, are kept; what the sources have is copied;
// the rest is fetched. Each chunk is verified before it is written, wherever it
// comes from. The error matches [ErrProof] if fetched bytes did not match.
func Assemble(ctx context.Context, out *os.File, list List, from []Source, fetch Fetch) (Taken, error) {
	a := &assembler{out: out, list: list, places: map[ore.Digest]place{}}
	for _, s := range from {
		for _, c := range s.List.Chunks {
			a.places[c.Digest] = place{s.File, c.Offset}
		}
	}
	missing, err := a.local(ctx)
	if err != nil {
		return a.taken, fmt.Errorf("assemble %s: %w", list.Blob.Short(), err)
	}
	if err := a.remote(ctx, missing, fetch); err != nil {
		return a.taken, fmt.Errorf("assemble %s: %w", list.Blob.Short(), err)
	}
	return a.taken, nil
}

// place is where a chunk lies in a local file.
type place struct {
	file   *os.File
	offset int64
}

type assembler struct {
	out    *os.File
	list   List
	places map[ore.Digest]place
	taken  Taken
}

// local does what needs no fetching and returns which chunks are missing.
func (a *assembler) local(ctx context.Context) ([]Chunk, error) {
	info, err := a.out.Stat()
	if err != nil {
		return nil, err
	}
	had := info.Size()
	if err := a.out.Truncate(a.list.Size); err != nil {
		return nil, err
	}
	var missing []Chunk
	buf := make([]byte, 0, 1<<20)
	for _, c := range a.list.Chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c.Offset+c.Size <= had && holds(a.out, c.Offset, c, &buf) {
			a.taken.Kept += c.Size
			continue
		}
		p, ok := a.places[c.Digest]
		if !ok || !holds(p.file, p.offset, c, &buf) {
			missing = append(missing, c)
			continue
		}
		if _, err := a.out.WriteAt(buf, c.Offset); err != nil {
			return nil, err
		}
		a.taken.Copied += c.Size
	}
	return missing, nil
}

// holds says whether f has chunk c at offset; then it is in buf.
func holds(f *os.File, offset int64, c Chunk, buf *[]byte) bool {
	b, err := readSegment(f, segment{literal, offset, c.Size}, *buf)
	if err != nil {
		return false // a file that is shorter than its list says, or cannot be read, has nothing to give
	}
	*buf = b
	return ore.DigestOf(b) == c.Digest
}

// remote fetches the missing chunks.
func (a *assembler) remote(ctx context.Context, missing []Chunk, fetch Fetch) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, part := range ranges(missing) {
		for _, c := range part {
			a.taken.Fetched += c.Size
		}
		g.Go(func() error { return a.fetch(ctx, part, fetch) })
	}
	return g.Wait()
}

// ranges joins chunks that lie together.
func ranges(missing []Chunk) [][]Chunk {
	var all [][]Chunk
	var part []Chunk
	for _, c := range missing {
		if n := len(part); n > 0 {
			end := part[n-1].Offset + part[n-1].Size
			if c.Offset > end+gap || c.Offset+c.Size > part[0].Offset+maxRange {
				all, part = append(all, part), nil
			}
		}
		part = append(part, c)
	}
	if len(part) > 0 {
		all = append(all, part)
	}
	return all
}

// fetch gets one range.
func (a *assembler) fetch(ctx context.Context, part []Chunk, fetch Fetch) (err error) {
	last := part[len(part)-1]
	at := part[0].Offset
	r, err := fetch(ctx, at, last.Offset+last.Size-at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	var buf []byte
	for _, c := range part {
		if _, err := io.CopyN(io.Discard, r, c.Offset-at); err != nil {
			return torn(err)
		}
		if int64(cap(buf)) < c.Size {
			buf = make([]byte, c.Size)
		}
		buf = buf[:c.Size]
		if _, err := io.ReadFull(r, buf); err != nil {
			return torn(err)
		}
		if ore.DigestOf(buf) != c.Digest {
			return fmt.Errorf("chunk at %d: %w", c.Offset, ErrProof)
		}
		if _, err := a.out.WriteAt(buf, c.Offset); err != nil {
			return err
		}
		at = c.Offset + c.Size
	}
	return nil
}

// torn makes an early end an error that says so.
func torn(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
