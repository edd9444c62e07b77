package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"ore/cache/serve/whole"
	"ore/image/chunk"
)

// derived keeps chunk lists and patches, which are made once and can be made
// again. Names are digests, so whoever may not read a blob cannot ask for it
// here: handlers look that up first.
type derived struct {
	dir   string
	ctx   context.Context // ends with the server
	work  chan struct{}   // holds a value for each that is being made
	group sync.WaitGroup

	mu      sync.Mutex
	flights map[string]*flight // guarded by mu; by file name
}

// flight is one thing that is being made, for all who wait for it.
type flight struct {
	done chan struct{}
	b    []byte
	err  error
}

func openDerived(ctx context.Context, dir string) (*derived, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &derived{dir: dir, ctx: ctx, work: make(chan struct{}, maxPatchWork), flights: map[string]*flight{}}, nil
}

// close waits for what is being made.
func (d *derived) close() { d.group.Wait() }

// list returns a blob's chunk list.
func (d *derived) list(ctx context.Context, b chunk.Blob) (chunk.List, error) {
	enc, err := d.get(ctx, b.Digest.Hex()+".chunks", []chunk.Blob{b}, func(ctx context.Context, in []chunk.Blob) ([]byte, error) {
		l, err := chunk.Make(ctx, in[0], in[0].Size)
		if err == nil && l.Blob != b.Digest {
			err = fmt.Errorf("blob %s changed while it was read", b.Digest.Short())
		}
		return l.Encode(), err
	})
	if err != nil {
		return chunk.List{}, err
	}
	return chunk.Decode(enc)
}

// patch returns what makes next from old.
func (d *derived) patch(ctx context.Context, old, next chunk.Blob) ([]byte, error) {
	name := old.Digest.Hex() + "-" + next.Digest.Hex() + ".patch"
	return d.get(ctx, name, []chunk.Blob{old, next}, func(ctx context.Context, in []chunk.Blob) ([]byte, error) {
		p, err := chunk.Diff(ctx, in[0], in[1])
		if err != nil {
			return nil, err
		}
		return p.Encode(), nil
	})
}

// from makes something of blobs.
type from func(ctx context.Context, in []chunk.Blob) ([]byte, error)

// get returns a kept file, or makes it once for all who ask meanwhile. Making
// goes on if they all leave: the next one will want it.
func (d *derived) get(ctx context.Context, name string, in []chunk.Blob, make from) ([]byte, error) {
	path := filepath.Join(d.dir, name)
	if b, err := os.ReadFile(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	d.mu.Lock()
	f := d.flights[name]
	if f == nil {
		files, err := reopen(in)
		if err != nil {
			d.mu.Unlock()
			return nil, err
		}
		f = newFlight()
		d.flights[name] = f
		d.group.Go(func() {
			defer closeAll(files)
			f.b, f.err = d.produce(path, files, in, make)
			d.mu.Lock()
			delete(d.flights, name)
			d.mu.Unlock()
			close(f.done)
		})
	}
	d.mu.Unlock()
	select {
	case <-f.done:
		return f.b, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newFlight() *flight { return &flight{done: make(chan struct{})} }

// reopen gives the maker files of its own: those of the request that began it
// are closed when that leaves.
func reopen(in []chunk.Blob) ([]*os.File, error) {
	var files []*os.File
	for _, b := range in {
		old, ok := b.ReaderAt.(*os.File)
		if !ok {
			closeAll(files)
			return nil, fmt.Errorf("blob %s is no file", b.Digest.Short())
		}
		// By its descriptor, so that one that was evicted can still be opened.
		f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", old.Fd()))
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// produce makes and keeps a file.
func (d *derived) produce(path string, files []*os.File, in []chunk.Blob, make from) ([]byte, error) {
	select {
	case d.work <- struct{}{}:
		defer func() { <-d.work }()
	case <-d.ctx.Done():
		return nil, d.ctx.Err()
	}
	in = slices.Clone(in)
	for i, f := range files {
		in[i].ReaderAt = f
	}
	b, err := make(d.ctx, in)
	if err != nil {
		return nil, err
	}
	if err := d.evict(int64(len(b))); err != nil {
		return nil, err
	}
	// Kept so that it need not be made again; a full disk is no reason to refuse.
	_ = whole.Write(path, b, 0o600)
	return b, nil
}

// evict removes the oldest files until n bytes more fit.
func (d *derived) evict(n int64) error {
	list, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	var all []fs.FileInfo
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			all = append(all, info)
			n += info.Size()
		}
	}
	slices.SortFunc(all, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range all {
		if n <= maxKeptPatches {
			break
		}
		if err := os.Remove(filepath.Join(d.dir, info.Name())); err == nil {
			n -= info.Size()
		}
	}
	return nil
}
