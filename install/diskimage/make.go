package diskimage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ore"
	"ore/image"
	"ore/image/export"
	"ore/image/export/ext4"
	"ore/squashfs"
)

// Stage is that of the events that Make tells.
const Stage = "disk image"

// compression of the layer. Machines expand it with one core each, and it is made
// once, so that it is that of other layers.
func compression() squashfs.Options {
	return squashfs.Options{BlockSize: 256 << 10, Compression: squashfs.Zstd, Level: 1}
}

// Make makes the disk image of a tree and a shape, and puts its layer into the
// store that has the tree's. The caller registers the manifest.
func Make(ctx context.Context, store *image.Store, tree image.Manifest, s Shape, watch ore.Watcher) (image.Manifest, error) {
	if err := s.Check(); err != nil {
		return image.Manifest{}, err
	}
	m, err := build(ctx, store, tree, s, watch)
	if err != nil {
		return m, fmt.Errorf("make the disk image of %s: %w", tree.Key.Short(), image.Full(err))
	}
	return m, nil
}

func build(ctx context.Context, store *image.Store, tree image.Manifest, s Shape, watch ore.Watcher) (image.Manifest, error) {
	t, err := export.Open(ctx, store, tree)
	if err != nil {
		return image.Manifest{}, err
	}
	defer t.Close()
	parts, err := s.split(t.Entries)
	if err != nil {
		return image.Manifest{}, err
	}
	env := Environment(tree.Key, s)
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env}
	layer := image.Layer{Compression: string(squashfs.Zstd), Key: m.Key}
	layer.Digest, layer.Size, err = store.Put(ctx, func(f *os.File) error {
		w := &writer{m: &m, watch: watch, dir: filepath.Dir(f.Name())}
		return w.write(ctx, f, s, parts)
	})
	m.Layers = []image.Layer{layer}
	return m, err
}

// split gives each file system of the shape its part of a tree.
func (s Shape) split(tree []ext4.Entry) ([][]ext4.Entry, error) {
	mounts := append(s.mounts(), s.Empty...)
	index := map[string]int{}
	parts := make([][]ext4.Entry, len(s.Parts))
	for i, p := range s.Parts {
		index[p.Mount] = i
		top := ext4.Entry{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}}
		parts[i] = []ext4.Entry{top}
	}
	for _, e := range tree {
		name := path.Join("/", e.Path)
		if i, ok := index[name]; ok && e.Mode.IsDir() { // the mount point's own attributes are those of what is mounted there
			top := e
			top.Path = "."
			parts[i][0] = top
		}
		if name == "/" {
			continue
		}
		mount := owner(mounts, name, false)
		i, ok := index[mount]
		if !ok {
			return nil, fmt.Errorf("the image has %s, and the file system for %s is not ext4: use image, base or packages", name, mount)
		}
		e.Path = strings.TrimPrefix(strings.TrimPrefix(name, mount), "/")
		if e.Hardlink != "" {
			to := path.Join("/", e.Hardlink)
			if owner(mounts, to, false) != mount {
				return nil, fmt.Errorf("%s and %s are one file, and belong to different file systems: use image, base or packages", name, to)
			}
			e.Hardlink = strings.TrimPrefix(strings.TrimPrefix(to, mount), "/")
		}
		parts[i] = append(parts[i], e)
	}
	return parts, nil
}

// writer writes the layer.
type writer struct {
	m      *image.Manifest
	watch  ore.Watcher
	dir    string // for file systems, each of which is a file for a while
	squash *squashfs.Writer
	items  []image.Item
}

func (w *writer) write(ctx context.Context, f *os.File, s Shape, parts [][]ext4.Entry) (err error) {
	if w.squash, err = squashfs.NewWriter(f, compression()); err != nil {
		return err
	}
	defer w.squash.Abort()
	if err := w.folder("."); err != nil {
		return err
	}
	for i, p := range s.Parts {
		w.watch.Tell(ore.Event{Stage: Stage, Text: p.Mount, Done: int64(i), Total: int64(len(s.Parts))})
		if err := w.part(ctx, i, p, parts[i]); err != nil {
			return fmt.Errorf("%s: %w", p.Mount, err)
		}
	}
	if err := w.squash.Close(); err != nil {
		return err
	}
	w.m.Tree, err = w.digest()
	w.watch.Tell(ore.Event{Stage: Stage, Done: int64(len(s.Parts)), Total: int64(len(s.Parts)), Final: true})
	return err
}

// part writes one file system: to a file that has no name, and from there what is
// in use of it, since its blocks are not written in their order.
func (w *writer) part(ctx context.Context, i int, p Part, entries []ext4.Entry) (err error) {
	l, err := ext4.Plan(entries, ext4.Options{Size: p.Bytes})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(w.dir, "blob-*") // as the store sweeps them, if this process is killed just now
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(l.Size())); err != nil {
		return err
	}
	if err := l.Write(ctx, f); err != nil {
		return err
	}
	if err := w.folder(folder(i)); err != nil {
		return err
	}
	ranges := []ext4.Range{{From: 0, To: ext4.HeadSize}}
	for _, r := range l.Used() {
		r.From = max(r.From, ext4.HeadSize)
		ranges = append(ranges, r)
	}
	for _, r := range ranges {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.file(rangeName(i, r.From), io.NewSectionReader(f, r.From, r.To-r.From), r.To-r.From); err != nil {
			return err
		}
	}
	return nil
}

// folder adds a folder.
func (w *writer) folder(name string) error {
	w.items = append(w.items, image.Item{Path: name, Type: 'd', Mode: 0o755})
	w.m.Files++
	return w.squash.Add(squashfs.Entry{Path: name, Mode: fs.ModeDir | 0o755}, nil)
}

// file adds a range.
func (w *writer) file(name string, r io.Reader, size int64) error {
	h := sha256.New()
	if err := w.squash.Add(squashfs.Entry{Path: name, Mode: 0o444, Size: size}, io.TeeReader(r, h)); err != nil {
		return err
	}
	w.items = append(w.items, image.Item{Path: name, Type: 'f', Mode: 0o444, Content: [sha256.Size]byte(h.Sum(nil))})
	w.m.Files, w.m.Bytes = w.m.Files+1, w.m.Bytes+size
	return nil
}

// digest returns the tree digest of the layer.
func (w *writer) digest() (ore.Digest, error) {
	slices.SortFunc(w.items[1:], func(a, b image.Item) int { return cmp.Compare(a.Path, b.Path) })
	list := image.NewListing(nil)
	for _, it := range w.items {
		if err := list.Add(it); err != nil {
			return "", err
		}
	}
	return list.Digest()
}
