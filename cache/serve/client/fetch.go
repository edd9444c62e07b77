package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cache/serve/wire"
	"ore/image"
	"ore/image/chunk"
	"ore/image/chunk/delta"
)

// Traffic is what fetching an image took.
type Traffic struct {
	Received int64 // bytes of bodies that came over the wire
	Patched  int   // layers that came as patches
	Chunked  int   // layers that came as chunks
	Present  int   // layers that were there
	Copied   int64 // bytes that came from local files
}

// Fetch brings the layers of m into store. near are images in store that may be
// relatives: what they have in common with m is not sent. What an interrupted
// call has brought of a layer is kept for the next.
func (c *Client) Fetch(ctx context.Context, m image.Manifest, store *image.Store, near []image.Manifest) (Traffic, error) {
	f := &fetcher{Client: c, store: store, near: relatives(m, near)}
	f.sweep()
	for _, l := range m.Layers {
		if err := f.layer(ctx, l); err != nil {
			return f.traffic, fmt.Errorf("fetch layer %s: %w", l.Digest.Short(), err)
		}
	}
	return f.traffic, nil
}

// relatives returns the layers of near, the latest first and each once.
func relatives(m image.Manifest, near []image.Manifest) []ore.Digest {
	seen := map[ore.Digest]bool{}
	for _, l := range m.Layers {
		seen[l.Digest] = true
	}
	var all []ore.Digest
	for _, n := range near {
		for _, l := range n.Layers {
			if !seen[l.Digest] && len(all) < wire.MaxNear {
				seen[l.Digest] = true
				all = append(all, l.Digest)
			}
		}
	}
	return all
}

type fetcher struct {
	*Client
	store   *image.Store
	near    []ore.Digest
	traffic Traffic
}

// layer brings one layer: as a patch if the server finds one, else by chunks.
func (f *fetcher) layer(ctx context.Context, l image.Layer) error {
	_, err := f.store.Verified(ctx, l.Digest)
	if err == nil {
		f.traffic.Present++
		return nil
	}
	if !errors.Is(err, image.ErrMissing) && !errors.Is(err, image.ErrRotten) {
		return err
	}
	// What an earlier call has begun goes on.
	if _, err := os.Stat(f.partial(l.Digest)); errors.Is(err, fs.ErrNotExist) && len(f.near) > 0 {
		err := f.patch(ctx, l)
		if err == nil {
			f.traffic.Patched++
			return nil
		}
		if !useless(err) {
			return err
		}
	}
	if err := f.chunks(ctx, l); err != nil {
		return err
	}
	f.traffic.Chunked++
	return nil
}

var errNoPatch = errors.New("no patch is of use")

// useless says whether the error is the end of a patch alone.
func useless(err error) bool {
	return errors.Is(err, errNoPatch) || errors.Is(err, chunk.ErrPatch) || errors.Is(err, delta.ErrCorrupt) || errors.Is(err, image.ErrRotten)
}

// patch asks for a patch and applies it.
func (f *fetcher) patch(ctx context.Context, l image.Layer) error {
	r, err := f.send(ctx, call{method: http.MethodPost, path: "/v1/patches", body: encode(wire.Near{Target: l.Digest, Have: f.near})})
	if err != nil {
		return err
	}
	if r.StatusCode == http.StatusNoContent {
		return errors.Join(errNoPatch, r.Body.Close())
	}
	// One that is longer than the layer is of no use either.
	b, err := readAll(r.Body, min(chunk.MaxPatch, l.Size))
	f.traffic.Received += int64(len(b))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoPatch, err)
	}
	p, err := chunk.DecodePatch(b)
	if err != nil {
		return err
	}
	if p.To != l.Digest || p.Size != l.Size {
		return fmt.Errorf("%w: it makes another layer", chunk.ErrPatch)
	}
	path, err := f.store.Verified(ctx, p.From)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoPatch, err)
	}
	old, err := os.Open(path)
	if err != nil {
		return err
	}
	defer old.Close()
	_, _, err = f.store.Put(ctx, func(out *os.File) error {
		if err := p.Apply(ctx, old, out); err != nil {
			return err
		}
		return matches(out, l)
	})
	if err == nil {
		f.traffic.Copied += l.Size - int64(len(b))
	}
	return err
}

// matches reads a file and compares it with the layer's digest.
func matches(f *os.File, l image.Layer) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return err
	}
	if got := ore.NewDigest([sha256.Size]byte(h.Sum(nil))); got != l.Digest {
		return fmt.Errorf("layer %s: received %s: %w", l.Digest.Short(), got.Short(), image.ErrRotten)
	}
	return nil
}

func (f *fetcher) partial(d ore.Digest) string {
	return filepath.Join(f.Dir, "partial", d.Hex())
}

// chunks assembles a layer from local files and ranges of the blob.
func (f *fetcher) chunks(ctx context.Context, l image.Layer) error {
	list, err := f.list(ctx, l)
	if err != nil {
		return err
	}
	sources, err := f.sources(ctx)
	defer func() {
		for _, s := range sources {
			s.File.Close()
		}
	}()
	if err != nil {
		return err
	}
	out, end, err := f.begin(l.Digest)
	if err != nil {
		return err
	}
	defer end()
	taken, err := chunk.Assemble(ctx, out, list, sources, func(ctx context.Context, offset, size int64) (io.ReadCloser, error) {
		return f.span(ctx, l.Digest, offset, size), nil
	})
	f.traffic.Received += taken.Fetched
	f.traffic.Copied += taken.Copied + taken.Kept
	if err != nil {
		return err
	}
	_, _, err = f.store.Put(ctx, func(blob *os.File) error {
		if err := chunk.Copy(blob, out, l.Size); err != nil {
			return err
		}
		return matches(blob, l)
	})
	if err == nil || errors.Is(err, image.ErrRotten) {
		// A list that makes something else is no list of this blob: begin anew.
		err = errors.Join(err, os.Remove(out.Name()))
	}
	return err
}

// list fetches the blob's chunk list.
func (f *fetcher) list(ctx context.Context, l image.Layer) (chunk.List, error) {
	r, err := f.send(ctx, call{method: http.MethodGet, path: "/v1/blobs/" + string(l.Digest) + "/chunks"})
	if err != nil {
		return chunk.List{}, err
	}
	b, err := readAll(r.Body, chunk.MaxEncoded)
	f.traffic.Received += int64(len(b))
	if err != nil {
		return chunk.List{}, err
	}
	list, err := chunk.Decode(b)
	if err == nil {
		err = l.CheckList(list)
	}
	return list, err
}

// begin opens the file in which a layer is assembled: the one that an earlier
// call left, unless another process is at it. end closes it.
func (f *fetcher) begin(d ore.Digest) (out *os.File, end func(), err error) {
	path := f.partial(d)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, err
	}
	if out, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	if unix.Flock(int(out.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return out, func() { out.Close() }, nil
	}
	out.Close()
	if out, err = os.CreateTemp(filepath.Dir(path), "beside-*"); err != nil {
		return nil, nil, err
	}
	return out, func() {
		_ = os.Remove(out.Name()) // nobody would find it again
		out.Close()
	}, nil
}

// staleAfter is how old an unfinished layer must be before it is removed: nobody
// has asked for it again.
const staleAfter = 7 * 24 * time.Hour

// sweep removes layers that were never finished. It is of use to others only,
// and so its errors are of no interest.
func (f *fetcher) sweep() {
	dir := filepath.Join(f.Dir, "partial")
	list, _ := os.ReadDir(dir)
	for _, e := range list {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		file, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.Remove(file.Name())
		}
		file.Close()
	}
}

// sources opens the near layers that are there, with their chunk lists.
func (f *fetcher) sources(ctx context.Context) ([]chunk.Source, error) {
	var all []chunk.Source
	for _, d := range f.near {
		path, err := f.store.Path(d)
		if err != nil {
			continue // not there any more: the others may do
		}
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		list, err := f.known(ctx, d, file)
		if err != nil {
			return all, errors.Join(err, file.Close())
		}
		all = append(all, chunk.Source{File: file, List: list})
	}
	return all, nil
}

// known returns the chunk list of a local layer, which is kept: making it reads
// the whole layer.
func (f *fetcher) known(ctx context.Context, d ore.Digest, file *os.File) (chunk.List, error) {
	path := filepath.Join(f.Dir, "lists", d.Hex())
	if b, err := os.ReadFile(path); err == nil {
		if l, err := chunk.Decode(b); err == nil {
			return l, nil
		}
	}
	info, err := file.Stat()
	if err != nil {
		return chunk.List{}, err
	}
	l, err := chunk.Make(ctx, file, info.Size())
	if err != nil {
		return l, err
	}
	// Losing it costs one more reading of the layer.
	if os.MkdirAll(filepath.Dir(path), 0o700) == nil {
		tmp, err := os.CreateTemp(filepath.Dir(path), "new-*")
		if err == nil {
			_, err = tmp.Write(l.Encode())
			if errors.Join(err, tmp.Close()) != nil || os.Rename(tmp.Name(), path) != nil {
				_ = os.Remove(tmp.Name())
			}
		}
	}
	return l, nil
}
