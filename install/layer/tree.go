package layer

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"ore"
	"ore/image"
	"ore/install/tree"
)

// Tree is what a tree has, and what of that no sealed layer has yet. It is used
// by one goroutine at a time.
type Tree struct {
	Epoch  int64 // the time of entries that no package brought
	merged map[string]*tree.Node
	below  map[string]*tree.Node // as the sealed layers have it; nil while it is merged
	fresh  map[string]Source     // where the content of what is new comes from
}

// New returns an empty tree.
func New() *Tree { return &Tree{merged: map[string]*tree.Node{}} }

// Clone returns a tree with the same entries, all of which count as sealed.
func (t *Tree) Clone() *Tree { return &Tree{Epoch: t.Epoch, merged: maps.Clone(t.merged)} }

// Get returns the entry of name, nil if there is none.
func (t *Tree) Get(name string) *tree.Node { return t.merged[name] }

// Len returns the number of entries.
func (t *Tree) Len() int { return len(t.merged) }

// Names returns the set of all names.
func (t *Tree) Names() map[string]*tree.Node { return t.merged }

// Lay puts the entries of a sealed layer over the tree.
func (t *Tree) Lay(nodes []tree.Node) {
	for i := range nodes {
		n := &nodes[i]
		if n.Whiteout() {
			t.remove(n.Path)
			continue
		}
		t.set(n)
	}
}

// Put lays a change over the tree.
func (t *Tree) Put(s Source) {
	if t.below == nil {
		t.below, t.fresh = maps.Clone(t.merged), map[string]Source{}
	}
	if s.Node.Whiteout() {
		t.remove(s.Node.Path)
		return
	}
	n := s.Node
	t.set(&n)
	t.fresh[n.Path] = s
}

func (t *Tree) set(n *tree.Node) {
	if old := t.merged[n.Path]; old != nil && old.Mode.IsDir() && !n.Mode.IsDir() {
		t.remove(n.Path)
	}
	t.merged[n.Path] = n
}

// remove takes name and all below it out of the tree.
func (t *Tree) remove(name string) {
	n := t.merged[name]
	delete(t.merged, name)
	if n == nil || !n.Mode.IsDir() {
		return
	}
	for other := range t.merged {
		if strings.HasPrefix(other, name+"/") {
			delete(t.merged, other)
		}
	}
}

// Children lists the names in the folder dir.
func (t *Tree) Children(dir string) []string {
	var list []string
	for name := range t.merged {
		if name != "." && path.Dir(name) == dir {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// Seal returns what a layer must have to make the tree of what is below, and
// counts it as sealed.
func (t *Tree) Seal() []Source {
	if t.below == nil {
		return nil
	}
	out := map[string]Source{}
	for name, n := range t.merged {
		if old := t.below[name]; old != n && (old == nil || !tree.Same(old, n)) {
			out[name] = t.fresh[name]
		}
	}
	for name := range t.below {
		if parent := t.merged[path.Dir(name)]; t.merged[name] == nil && parent != nil && parent.Mode.IsDir() {
			out[name] = Whiteout(name, t.Epoch)
		}
	}
	for _, name := range slices.Collect(maps.Keys(out)) {
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			if _, ok := out[dir]; !ok {
				n := *t.merged[dir]
				n.ModTime = t.Epoch
				out[dir] = Source{Node: n}
			}
			if dir == "." {
				break
			}
		}
	}
	t.below, t.fresh = nil, nil
	return slices.Collect(maps.Values(out))
}

// Since lists what the tree has over an earlier one: what a program changed that made
// the one of the other. There is no content.
func (t *Tree) Since(below *Tree) Changes {
	var list Changes
	for name, n := range t.merged {
		if old := below.merged[name]; old != n && (old == nil || !tree.Same(old, n)) {
			list = append(list, Source{Node: *n})
		}
	}
	for name := range below.merged {
		if parent := t.merged[path.Dir(name)]; t.merged[name] == nil && parent != nil && parent.Mode.IsDir() {
			list = append(list, Whiteout(name, t.Epoch))
		}
	}
	return list
}

// Outcome is what a manifest says of a tree.
type Outcome struct {
	Tree         ore.Digest
	Capabilities []image.Capability
	Bytes        int64
	Files        int
	Apart        []string // see image.Manifest
}

// Manifest describes the tree as that of env, but for its layers.
func (o *Outcome) Manifest(env ore.Environment) image.Manifest {
	return image.Manifest{
		Version: image.ManifestVersion, Environment: env, Key: env.Key(),
		Tree: o.Tree, Capabilities: o.Capabilities, Bytes: o.Bytes, Files: o.Files, Apart: o.Apart,
	}
}

// Outcome lists the whole tree.
func (t *Tree) Outcome() (*Outcome, error) {
	l := image.NewListing(nil)
	out := &Outcome{Files: len(t.merged)}
	for _, name := range slices.SortedFunc(maps.Keys(t.merged), tree.ComparePaths) {
		n := t.merged[name]
		it, err := n.Item()
		if err != nil {
			return nil, fmt.Errorf("list tree: %w", err)
		}
		if err := l.Add(it); err != nil {
			return nil, fmt.Errorf("list tree: %w", err)
		}
		if n.Regular() && n.Hardlink == "" {
			out.Bytes += n.Size
		}
		if n.Capability != nil {
			out.Capabilities = append(out.Capabilities, image.Capability{Path: name, Value: n.Capability})
		}
	}
	var err error
	out.Tree, err = l.Digest()
	return out, err
}
