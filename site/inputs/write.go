package inputs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ore"
	"ore/image"
	"ore/node"
	"ore/squashfs"
)

// ErrChanged is returned for a source that somebody writes to.
var ErrChanged = errors.New("it changed while it was read: run again when nothing writes to it")

// writer makes the layer of a listing.
type writer struct {
	list   Listing
	squash *squashfs.Writer
	items  []image.Item
	first  map[[2]uint64]int // of names of one file, the place of the first among items
	bytes  int64             // read so far
	tell   func(done int64)
}

// write writes the layer of l to f and returns the tree digest.
func write(ctx context.Context, f *os.File, l Listing, o squashfs.Options, tell func(done int64)) (ore.Digest, error) {
	s, err := squashfs.NewWriter(f, o)
	if err != nil {
		return "", err
	}
	defer s.Abort()
	w := &writer{list: l, squash: s, first: map[[2]uint64]int{}, tell: tell}
	if !l.Entries[0].Mode.IsDir() {
		if err := w.add(Entry{Path: ".", Mode: fs.ModeDir | 0o755}); err != nil {
			return "", err
		}
	}
	for _, e := range l.Entries {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := w.add(e); err != nil {
			return "", err
		}
	}
	if err := s.Close(); err != nil {
		return "", err
	}
	return digestOf(w.items)
}

// digestOf returns the tree digest of items.
func digestOf(items []image.Item) (ore.Digest, error) {
	slices.SortFunc(items, func(a, b image.Item) int {
		if a.Path == "." || b.Path == "." {
			return cmp.Compare(b2i(b.Path == "."), b2i(a.Path == "."))
		}
		return cmp.Compare(a.Path, b.Path)
	})
	list := image.NewListing(nil)
	for _, it := range items {
		if err := list.Add(it); err != nil {
			return "", err
		}
	}
	return list.Digest()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// add adds one name to the layer and to the items.
func (w *writer) add(e Entry) error {
	host := filepath.Join(w.list.Top, e.Path)
	if e.Path == "." && e.Mode.IsRegular() {
		host, e.Path = w.list.Top, node.InputFile
	}
	it := image.Item{Path: e.Path, Mode: uint32(e.Mode.Perm()), Type: 'f', Link: e.Link}
	out := squashfs.Entry{Path: e.Path, Mode: e.Mode.Type() | e.Mode.Perm(), Link: e.Link}
	switch {
	case e.Mode.IsDir():
		it.Type = 'd'
	case e.Mode&fs.ModeSymlink != 0:
		it.Type, it.Mode, out.Mode = 'l', 0o777, fs.ModeSymlink|0o777
	default:
		return w.addFile(host, e, it)
	}
	w.items = append(w.items, it)
	return w.squash.Add(out, nil)
}

// addFile adds a regular file; one that was there under another name is linked.
func (w *writer) addFile(host string, e Entry, it image.Item) error {
	if i, seen := w.first[e.id]; e.many && seen {
		was := w.items[i]
		it.Content = was.Content
		w.items = append(w.items, it)
		return w.squash.Add(squashfs.Entry{Path: e.Path, Hardlink: was.Path}, nil)
	}
	f, err := os.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	content := &counted{r: io.TeeReader(f, h), w: w}
	if err := w.squash.Add(squashfs.Entry{Path: e.Path, Mode: e.Mode.Perm(), Size: e.Size}, content); err != nil {
		if info, serr := f.Stat(); serr == nil && info.Size() != e.Size {
			return fmt.Errorf("%s: %w", host, ErrChanged)
		}
		return err
	}
	it.Content = [sha256.Size]byte(h.Sum(nil))
	w.first[e.id] = len(w.items)
	w.items = append(w.items, it)
	return nil
}

// counted tells how much was read.
type counted struct {
	r io.Reader
	w *writer
}

// Read reads and counts.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.w.bytes += int64(n)
	c.w.tell(c.w.bytes)
	return n, err
}
