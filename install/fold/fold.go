// Package fold merges the layers of an image into fewer.
//
// Each image that is made from another one has a layer more, and there may be
// [image.MaxLayers]. A folded image has the base's layer, which many images
// share, and one layer with all that lies over it. Its tree is the same, entry
// by entry; only its layers are others. Data blocks are copied as they are.
package fold

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"ore/image"
	"ore/squashfs"
)

// whiteout tells whether an entry stands for a name that was removed.
func whiteout(e squashfs.Entry) bool {
	return e.Mode.Type() == fs.ModeDevice|fs.ModeCharDevice && e.Major == 0 && e.Minor == 0 && e.Hardlink == ""
}

// entry is a name of the merged tree and which layer it is from.
type entry struct {
	squashfs.Entry
	layer int
}

// folder merges layers.
type folder struct {
	readers []*squashfs.Reader
	files   []*os.File
	base    map[string]entry
	merged  map[string]entry
}

// Fold returns a manifest of the same tree with two layers: the lowest, and one
// with all others, which is put into the store. The manifest itself is not; the
// image that it replaces stays as it is. An image of one or two layers is
// returned unchanged.
func Fold(ctx context.Context, store *image.Store, m image.Manifest, o squashfs.Options) (image.Manifest, error) {
	if len(m.Layers) <= 2 {
		return m, nil
	}
	out, err := fold(ctx, store, m, o)
	if err != nil {
		return m, fmt.Errorf("fold image %s: %w", m.Key.Short(), err)
	}
	return out, nil
}

func fold(ctx context.Context, store *image.Store, m image.Manifest, o squashfs.Options) (_ image.Manifest, err error) {
	d := &folder{base: map[string]entry{}, merged: map[string]entry{}}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, l := range m.Layers {
		if err := d.open(store, l); err != nil {
			return m, err
		}
	}
	o.Jobs = runtime.NumCPU()
	digest, size, err := store.Put(ctx, func(f *os.File) error { return d.write(ctx, f, o) })
	if err != nil {
		return m, err
	}
	last := m.Layers[len(m.Layers)-1]
	m.Layers = []image.Layer{
		m.Layers[0],
		{Digest: digest, Size: size, Compression: string(o.Compression), Key: last.Key},
	}
	return m, nil
}

func (d *folder) close() error {
	var list []error
	for _, f := range d.files {
		list = append(list, f.Close())
	}
	return errors.Join(list...)
}

// open lays a layer over those that were opened before.
func (d *folder) open(store *image.Store, l image.Layer) error {
	name, err := store.Path(l.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	d.files = append(d.files, f)
	r, err := squashfs.NewReader(f, l.Size)
	if err != nil {
		return err
	}
	layer := len(d.readers)
	d.readers = append(d.readers, r)
	for e, err := range r.Entries() {
		if err != nil {
			return err
		}
		d.lay(entry{e, layer})
	}
	if layer == 0 {
		d.base = maps.Clone(d.merged)
	}
	return nil
}

// lay puts an entry over the tree.
func (d *folder) lay(e entry) {
	old, ok := d.merged[e.Path]
	if ok && old.Mode.IsDir() && !(e.Mode.IsDir() && e.Hardlink == "") {
		for name := range d.merged {
			if strings.HasPrefix(name, e.Path+"/") {
				delete(d.merged, name)
			}
		}
	}
	if whiteout(e.Entry) {
		delete(d.merged, e.Path)
		return
	}
	d.merged[e.Path] = e
}

// write writes the layer that makes the merged tree of the base.
func (d *folder) write(ctx context.Context, f *os.File, o squashfs.Options) error {
	w, err := squashfs.NewWriter(f, o)
	if err != nil {
		return err
	}
	list := d.changed()
	first := map[entryOf]string{}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.add(w, e, first); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return w.Close()
}

// entryOf names a file of a layer by its first name there.
type entryOf struct {
	layer int
	path  string
}

// add writes an entry. Names of one file stay names of one file: the first of
// those that are left gets the content.
func (d *folder) add(w *squashfs.Writer, e entry, first map[entryOf]string) error {
	out := e.Entry
	source := e.Path
	if e.Hardlink != "" {
		source = e.Hardlink
		var err error
		if out, err = d.readers[e.layer].Lookup(source); err != nil {
			return err
		}
		out.Path = e.Path
	}
	if !out.Mode.IsRegular() {
		return w.Add(out, nil)
	}
	key := entryOf{e.layer, source}
	if name, ok := first[key]; ok {
		return w.Add(squashfs.Entry{Path: e.Path, Hardlink: name}, nil)
	}
	first[key] = e.Path
	return w.AddFrom(out, d.readers[e.layer], source)
}

// changed lists what the merged tree has over the base's, sorted: entries of
// the layers over it, a whiteout for each name that went, and the folders on
// the way.
func (d *folder) changed() []entry {
	out := map[string]entry{}
	for name, e := range d.merged {
		if e.layer > 0 {
			out[name] = e
		}
	}
	epoch := d.merged["."].ModTime
	for name := range d.base {
		_, there := d.merged[name]
		if parent := d.merged[path.Dir(name)]; !there && parent.Mode.IsDir() {
			out[name] = entry{Entry: squashfs.Entry{Path: name, Mode: fs.ModeDevice | fs.ModeCharDevice, ModTime: epoch}}
		}
	}
	for _, name := range slices.Collect(maps.Keys(out)) {
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			if _, ok := out[dir]; !ok {
				out[dir] = d.merged[dir]
			}
			if dir == "." {
				break
			}
		}
	}
	return slices.SortedFunc(maps.Values(out), func(a, b entry) int {
		switch {
		case a.Path == b.Path:
			return 0
		case a.Path == ".":
			return -1
		case b.Path == ".":
			return 1
		}
		return strings.Compare(a.Path, b.Path)
	})
}
