package install

import (
	"io/fs"
	"maps"
	"path"
	"slices"

	"ore/install/tree"
	"ore/squashfs"
)

// delta finds what the upper folder of a phase changes in the tree below it.
type delta struct {
	*phase
	stack *stack
	found []tree.Found

	hidden map[string]bool   // folders that hide all below them: opaque, or in an opaque one
	out    map[string]source // by path
}

// sources returns the layer's entries and updates the merged tree. An entry
// that is as below is left out, except for the folders on the way to others.
func (d *delta) sources() ([]source, error) {
	d.hidden, d.out = map[string]bool{}, map[string]source{}
	present := map[string]bool{}
	for i := range d.found {
		present[d.found[i].Path] = true
	}
	folders := map[string]source{}
	for i := range d.found {
		f := &d.found[i]
		below := d.stack.merged[f.Path]
		if f.Whiteout() {
			d.whiteout(f.Path)
			continue
		}
		s, err := d.examine(f, below)
		if err != nil {
			return nil, err
		}
		if f.Dir() {
			folders[f.Path] = s
			d.hide(f, below, present)
		}
		if below == nil || !tree.Same(below, &s.node) {
			d.put(s, below)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.out)) {
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			if _, ok := d.out[dir]; !ok {
				d.out[dir] = folders[dir]
			}
			if dir == "." {
				break
			}
		}
	}
	return slices.Collect(maps.Values(d.out)), nil
}

// put takes an entry into the layer and the merged tree.
func (d *delta) put(s source, below *tree.Node) {
	if below != nil && below.Mode.IsDir() && !s.node.Mode.IsDir() {
		d.stack.remove(s.node.Path)
	}
	d.out[s.node.Path] = s
	n := s.node
	d.stack.merged[n.Path] = &n
}

// whiteout takes a name away that exists below.
func (d *delta) whiteout(name string) {
	if d.stack.merged[name] == nil {
		return
	}
	d.stack.remove(name)
	d.out[name] = source{rank: -1, node: tree.Node{Entry: squashfs.Entry{
		Path: name, Mode: fs.ModeDevice | fs.ModeCharDevice, ModTime: d.epoch,
	}}}
}

// hide replaces the mark of an opaque folder by whiteouts for all that it hides.
func (d *delta) hide(f *tree.Found, below *tree.Node, present map[string]bool) {
	if !f.Opaque && !d.hidden[path.Dir(f.Path)] || f.Path == "." {
		return
	}
	d.hidden[f.Path] = true
	if below == nil || !below.Mode.IsDir() {
		return
	}
	for _, name := range d.stack.children(f.Path) {
		if !present[name] {
			d.whiteout(name)
		}
	}
}
