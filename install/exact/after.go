package exact

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"ore/image"
	"ore/install/dpkg"
	"ore/install/layer"
	"ore/install/tree"
)

// Finished is the tree of a wish that was made from a candidate.
type Finished struct {
	Sets         Sets
	Base         map[string]bool // what the base has
	Tree         *layer.Tree
	View         *tree.View // of the same tree
	Capabilities []image.Capability
}

// place returns where name is behind symbolic links to folders.
func (f *Finished) place(name string) string {
	if dir, err := f.View.Resolve(path.Dir(name)); err == nil {
		return path.Join(dir, path.Base(name))
	}
	return name
}

// Check looks for what gives the tree's way away, and tells it; "" if there is
// nothing.
func (f *Finished) Check() (string, error) {
	there := func(name string) bool { return f.Tree.Get(f.place(name)) != nil }
	if name := left(f.Sets, func(name string) bool { return f.Base[f.place(name)] }, there); name != "" {
		return "/" + name + " of a removed package is still there", nil
	}
	if name := lacking(f.Sets, there); name != "" {
		return "/" + name + " is not there", nil
	}
	for _, c := range f.Capabilities {
		if n := f.Tree.Get(c.Path); n != nil && n.Capability == nil {
			return "/" + c.Path + " has lost its capability", nil
		}
	}
	for name, n := range f.Tree.Names() {
		if path.Dir(name) != dpkg.Dir+"/alternatives" || !n.Regular() {
			continue
		}
		b, err := f.View.ReadFile(name)
		if err != nil {
			return "", err
		}
		if tie, err := Ties(string(b)); err != nil {
			return "", err
		} else if tie {
			return "which alternative of " + path.Base(name) + " is taken depends on which came first", nil
		}
	}
	return "", nil
}

// left returns a path of a removed package that is still there although no
// package of the wish and not the base has it; "" if there is none.
func left(s Sets, inBase, there func(string) bool) string {
	kept := map[string]bool{}
	for _, f := range slices.Concat(s.Base, s.Common, s.Missing) {
		for _, p := range f.Paths {
			kept[p] = true
		}
	}
	for _, f := range s.Extra {
		for _, p := range f.Paths {
			if !kept[p] && !inBase(p) && there(p) {
				return p
			}
		}
	}
	return ""
}

// lacking returns a path that a package of the wish has and the tree has not.
func lacking(s Sets, there func(string) bool) string {
	for _, f := range slices.Concat(s.Common, s.Missing) {
		for _, p := range f.Paths {
			if !there(p) {
				return p
			}
		}
	}
	return ""
}

// Ties returns whether two choices of an alternative have the highest priority:
// then the order in which they came decides. The text is that of a file of
// dpkg's folder alternatives: status, link, pairs of slaves, an empty line, and
// for each choice its path, its priority and a line for each slave.
func Ties(text string) (bool, error) {
	lines := strings.Split(text, "\n")
	slaves := 0
	i := 2
	for ; i < len(lines) && lines[i] != ""; i += 2 {
		slaves++
	}
	i++
	best, count := 0, 0
	for ; i+1 < len(lines) && lines[i] != ""; i += 2 + slaves {
		n, err := strconv.Atoi(lines[i+1])
		switch {
		case err != nil:
			return false, fmt.Errorf("alternative: priority %q: %w", lines[i+1], err)
		case count == 0 || n > best:
			best, count = n, 1
		case n == best:
			count++
		}
	}
	return count > 1, nil
}
