package pour

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"ore/image"
	"ore/install/tree"
)

// node is a name of the merged tree.
type node struct {
	tree.Node // Hardlink is the first name of the file that is seen, or ""; there is no Sum
	layer     int
	content   // of a regular file
}

// content is how far a regular file has been written.
type content struct {
	once sync.Once // makes out, or err
	out  int       // the open file
	open bool
	err  error
	room *Room        // instead, of a range of something larger
	left atomic.Int64 // blocks that are still to come
	end  atomic.Int64 // of what was written
}

// merged is the tree that is seen of all layers.
type merged struct {
	nodes []*node // by path, "." first
	names map[string]*node
}

// inode is a file of one layer, by the first of its names there.
type inode struct {
	layer int
	name  string
}

// merge lays the layers over each other, the lowest first, as overlayfs has it
// (Documentation/filesystems/overlayfs.rst): folders are merged, anything else
// replaces what is below it and all that is in that, and a whiteout removes it.
func merge(layers []*layer) *merged {
	t := &merged{names: map[string]*node{}}
	for i, l := range layers {
		// Of each layer first what goes: in one layer nothing is below a name
		// that is no folder.
		gone := map[string]bool{}
		for e := range l.reader.Entries() {
			if old := t.names[e.Path]; old != nil && old.Mode.IsDir() && !e.Mode.IsDir() {
				gone[e.Path] = true
			}
		}
		t.remove(gone)
		for e := range l.reader.Entries() {
			n := &node{Node: tree.Node{Entry: e}, layer: i}
			if t.names[e.Path] = n; n.Whiteout() {
				delete(t.names, e.Path)
			}
		}
	}
	for _, n := range t.names {
		t.nodes = append(t.nodes, n)
	}
	slices.SortFunc(t.nodes, func(a, b *node) int { return tree.ComparePaths(a.Path, b.Path) })
	t.link()
	return t
}

// remove takes what is below these folders out of the tree.
func (t *merged) remove(gone map[string]bool) {
	if len(gone) == 0 {
		return
	}
	for name := range t.names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if gone[dir] {
				delete(t.names, name)
				break
			}
		}
	}
}

// link makes the first name of a file that is seen the file, and its other names
// links to that: the name that its layer takes for the first may be hidden.
func (t *merged) link() {
	first := map[inode]string{}
	for _, n := range t.nodes {
		if n.Mode.IsDir() {
			continue
		}
		id := inode{n.layer, n.Path}
		if n.Hardlink != "" {
			id.name = n.Hardlink
		}
		if name, ok := first[id]; ok {
			n.Hardlink = name
		} else {
			first[id], n.Hardlink = n.Path, ""
		}
	}
}

// capable gives files the capabilities that a manifest lists.
func (t *merged) capable(list []image.Capability) error {
	for _, c := range list {
		n := t.names[strings.TrimPrefix(c.Path, "/")]
		if n == nil || !n.Mode.IsRegular() {
			return fmt.Errorf("capability of /%s: the image has no such file", c.Path)
		}
		n.Capability = c.Value
		if n.Hardlink != "" { // the file's, whatever name the list has
			t.names[n.Hardlink].Capability = c.Value
		}
	}
	return nil
}

// content returns the regular files whose content comes from layer i.
func (t *merged) content(i int) []*node {
	var list []*node
	for _, n := range t.nodes {
		if n.layer == i && n.Mode.IsRegular() && n.Hardlink == "" {
			list = append(list, n)
		}
	}
	return list
}
