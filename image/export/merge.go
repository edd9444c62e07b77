package export

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"ore/image"
	"ore/squashfs"
)

// stack is an image's layers, opened, and what is seen of them.
type stack struct {
	manifest image.Manifest
	files    []*os.File
	layers   []*squashfs.Reader // lowest first
	visible  map[string]int     // for each path of the merged tree the layer that it is seen from
	caps     map[inode][]byte
}

// inode is one file of one layer, by the first of its names there.
type inode struct {
	layer int
	path  string
}

// entry is one name of a tree, with where its content is.
type entry struct {
	squashfs.Entry
	capability []byte // of a file; nil for none and for hard links
	layer      *squashfs.Reader
}

// open returns the content of a regular file.
func (e *entry) open() (io.ReadCloser, error) { return e.layer.Open(e.Path) }

// openLayers opens m's layers and merges them.
func openLayers(s *image.Store, m image.Manifest) (*stack, error) {
	t := &stack{manifest: m}
	for _, l := range m.Layers {
		if err := t.openLayer(s, l); err != nil {
			t.close()
			return nil, fmt.Errorf("layer %s: %w", l.Digest.Short(), err)
		}
	}
	t.merge()
	if err := t.placeCapabilities(); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *stack) openLayer(s *image.Store, l image.Layer) error {
	p, err := s.Path(l.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	t.files = append(t.files, f)
	r, err := squashfs.NewReader(f, l.Size)
	if err != nil {
		return err
	}
	t.layers = append(t.layers, r)
	return nil
}

func (t *stack) close() {
	for _, f := range t.files {
		f.Close()
	}
}

func isWhiteout(e squashfs.Entry) bool {
	return e.Mode.Type() == fs.ModeDevice|fs.ModeCharDevice && e.Major == 0 && e.Minor == 0
}

// merge finds what is seen of the layers, as overlayfs has it
// (Documentation/filesystems/overlayfs.rst): of several layers that have a
// path the highest is seen; folders are merged, from the highest down to the
// first layer in which the path is something else.
func (t *stack) merge() {
	t.visible = map[string]int{}
	covered := map[string]bool{} // paths below which the layers further down are not seen
	for i, r := range slices.Backward(t.layers) {
		hidden := map[string]bool{}
		for e := range r.Entries() {
			if covered[e.Path] || e.Path != "." && hidden[path.Dir(e.Path)] {
				hidden[e.Path] = true
				continue
			}
			if _, seen := t.visible[e.Path]; !seen && !isWhiteout(e) {
				t.visible[e.Path] = i
			}
		}
		// What covers is no folder, so this layer has nothing below it and it
		// may be noted after the layer as well as at once.
		for e := range r.Entries() {
			if !e.Mode.IsDir() {
				covered[e.Path] = true
			}
		}
	}
}

// identity returns which file an entry of layer i names.
func identity(i int, e squashfs.Entry) inode {
	if e.Hardlink != "" {
		return inode{i, e.Hardlink}
	}
	return inode{i, e.Path}
}

// placeCapabilities finds the files to which the manifest's capabilities belong.
func (t *stack) placeCapabilities() error {
	t.caps = map[inode][]byte{}
	for _, c := range t.manifest.Capabilities {
		p := path.Clean(strings.TrimPrefix(c.Path, "/"))
		i, ok := t.visible[p]
		if !ok {
			return fmt.Errorf("capability of %s: the image has no such file", c.Path)
		}
		e, err := t.layers[i].Lookup(p)
		if err != nil {
			return err
		}
		if !e.Mode.IsRegular() {
			return fmt.Errorf("capability of %s: not a regular file", c.Path)
		}
		t.caps[identity(i, e)] = c.Value
	}
	return nil
}

// merged returns the merged tree sorted by path, the root first. A file with
// several names is a hard link under all but the first that is seen.
func (t *stack) merged() ([]entry, error) {
	paths := make([]string, 0, len(t.visible))
	for p := range t.visible {
		if p != "." {
			paths = append(paths, p)
		}
	}
	if len(paths) == len(t.visible) {
		return nil, fmt.Errorf("the image has no root folder")
	}
	slices.Sort(paths)
	first := map[inode]string{}
	out := make([]entry, 0, len(paths)+1)
	for _, p := range append([]string{"."}, paths...) {
		i := t.visible[p]
		e, err := t.layers[i].Lookup(p)
		if err != nil {
			return nil, err
		}
		out = append(out, t.entry(i, e, first))
	}
	return out, nil
}

// layer returns the entries of layer i, whiteouts among them.
func (t *stack) layer(i int) []entry {
	first := map[inode]string{}
	var out []entry
	for e := range t.layers[i].Entries() {
		out = append(out, t.entry(i, e, first))
	}
	return out
}

// entry returns e of layer i with its capability. Of several names of one
// file, the first one that it is called for becomes the file's.
func (t *stack) entry(i int, e squashfs.Entry, first map[inode]string) entry {
	id := identity(i, e)
	out := entry{Entry: e, layer: t.layers[i]}
	if e.Mode.IsDir() {
		return out
	}
	name, ok := first[id]
	out.Hardlink = name
	if !ok {
		first[id] = e.Path
		out.capability = t.caps[id]
	}
	return out
}
