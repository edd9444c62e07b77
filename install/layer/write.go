package layer

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"slices"

	"ore/install/tree"
	"ore/squashfs"
)

// Write writes a layer to the file name. The content of packages comes first,
// in their order, so that blocks that lie together in a pack do so in the layer.
// The sources have been given to [Link].
func Write(ctx context.Context, name string, sources []Source, o squashfs.Options) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	o.Jobs = runtime.NumCPU()
	w, err := squashfs.NewWriter(f, o)
	if err != nil {
		return err
	}
	order := slices.SortedStableFunc(slices.Values(sources), func(a, b Source) int {
		return cmp.Or(last(a.Node.Hardlink != "", b.Node.Hardlink != ""),
			last(a.Pack == nil, b.Pack == nil), cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Index, b.Index))
	})
	for i := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := order[i].add(w); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

// last orders what is true behind what is not.
func last(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Link sorts the sources by path and finds the names of one file: the first
// keeps the content, the others become links to it.
func Link(sources []Source) {
	slices.SortFunc(sources, func(a, b Source) int { return tree.ComparePaths(a.Node.Path, b.Node.Path) })
	first := map[Inode]string{}
	for i := range sources {
		s := &sources[i]
		s.Node.Hardlink = ""
		if s.Inode == (Inode{}) {
			continue
		}
		if name, ok := first[s.Inode]; ok {
			s.Node.Hardlink = name
		} else {
			first[s.Inode] = s.Node.Path
		}
	}
}
