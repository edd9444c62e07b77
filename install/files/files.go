// Package files puts an environment's files into a tree, all of them root's.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/layer"
	"ore/install/tree"
	"ore/squashfs"
)

// Putter puts files.
type Putter struct {
	View    *tree.View
	Sources map[ore.Digest]string // the host's paths, by content
	Staged  string                // a path on the tree's file system for what has no place yet
	Epoch   int64                 // the time that all get
}

// Put puts one file. A folder that exists is left as it is.
func (p *Putter) Put(f ore.LockedFile) error {
	name := strings.TrimPrefix(f.Path, "/")
	n := &tree.Node{Entry: squashfs.Entry{Path: name, Mode: tree.GoMode(f.Mode), Size: f.Size, ModTime: p.Epoch}}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return p.View.Mkdir(name, f.Mode&0o7777, 0, 0)
	case unix.S_IFLNK:
		n.Mode, n.Link = fs.ModeSymlink|fs.ModePerm, f.Link
		_, err := p.View.Put(n, "")
		return err
	}
	src, ok := p.Sources[f.Digest]
	if !ok {
		return fmt.Errorf("its content %s was not given", f.Digest.Short())
	}
	if err := stageFile(p.Staged, src, n); err != nil {
		return err
	}
	sum, err := layer.Hash(p.Staged)
	if err != nil {
		return err
	}
	if got := ore.NewDigest(sum); got != f.Digest {
		return fmt.Errorf("%s changed since it was locked: resolve again", src)
	}
	_, err = p.View.Put(n, p.Staged)
	return err
}

func stageFile(staged, src string, n *tree.Node) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := tree.Stage(staged, n)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
