package layer

import (
	"path"

	"ore/install/tree"
)

// Changes are what two programs that knew nothing of each other did to a tree.
type Changes []Source

// Collide returns a name at which two sets of changes get in each other's way:
// where laying one over the other depends on which comes first. Both may do the
// same. If there is none it returns "".
func Collide(a, b Changes) string {
	x, y := a.index(), b.index()
	if name := x.hits(y); name != "" {
		return name
	}
	return y.hits(x)
}

func (c Changes) index() byName {
	m := byName{}
	for i := range c {
		m[c[i].Node.Path] = &c[i].Node
	}
	return m
}

type byName map[string]*tree.Node

// hits returns a name that both have and that differs, or one that x has in
// what is no folder in y.
func (x byName) hits(y byName) string {
	for name, n := range x {
		if o := y[name]; o != nil && !tree.Same(n, o) {
			return name
		}
		if n.Whiteout() {
			continue // of what is gone already nothing can be taken away
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if o := y[dir]; o != nil && !o.Mode.IsDir() {
				return name
			}
		}
	}
	return ""
}
