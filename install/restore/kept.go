package restore

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"ore/install/kept"
	"ore/install/tree"
)

// Kept returns the tree of a layer and what is in it: the one that is kept at place, or
// it is unpacked as o says, and kept there for the next build, with the table of owners
// ("" for none) beside it.
func Kept(ctx context.Context, o Options, place, owners string) (dir string, nodes []tree.Node, err error) {
	if _, err := os.Lstat(place); err == nil {
		nodes, err := ReadNodes(place + kept.NodesSuffix)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			kept.Touch(place)
			return place, nodes, err
		}
	}
	if nodes, err = Layer(ctx, o); err != nil {
		return "", nil, err
	}
	if err := WriteNodes(place+kept.NodesSuffix, nodes); err != nil {
		return "", nil, err
	}
	dir, err = kept.Keep(o.Dir, place, owners)
	return dir, nodes, err
}
