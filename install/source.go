package install

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"

	"ore/install/pack"
	"ore/install/tree"
	"ore/squashfs"
)

// source is an entry of a layer and where its content comes from.
type source struct {
	node  tree.Node
	pack  *pack.Pack // if the content is a package's
	index int        // in the pack
	rank  int        // the package's
	host  string     // else: the file
	inode uint64     // of a file with several names, else 0
}

// add writes the entry.
func (s *source) add(w *squashfs.Writer) error {
	e := s.node.Entry
	if !e.Mode.IsRegular() || e.Hardlink != "" {
		return w.Add(e, nil)
	}
	if s.pack != nil {
		return s.pack.AddTo(w, e, s.index)
	}
	f, err := os.Open(s.host)
	if err != nil {
		return err
	}
	defer f.Close()
	return w.Add(e, f)
}

// examine tells what the entry that was found is meant to be. What no script
// touched is as its package brought it; of what was touched the content is read
// and compared with what the package brought, or with the entry below.
func (p *phase) examine(f *tree.Found, below *tree.Node) (source, error) {
	was, known := p.placed[f.Path]
	s := source{host: f.Host}
	if f.Stat.Nlink > 1 && !f.Dir() {
		s.inode = f.Stat.Ino
	}
	if known && !after(f.Stat.Ctim, p.settled) && was.node.Regular() {
		s.node, s.pack, s.index, s.rank = was.node, was.pack, was.index, was.rank
		s.node.Path = f.Path
		return s, nil
	}
	o, err := p.sb.Owner(f.Host)
	if err != nil {
		return s, err
	}
	s.node = tree.Node{
		Entry: squashfs.Entry{
			Path: f.Path, Mode: o.Mode, UID: o.UID, GID: o.GID,
			Major: o.Major, Minor: o.Minor, ModTime: p.epoch,
		},
		Capability: o.Capability,
	}
	switch o.Mode.Type() {
	case 0:
		err = s.content(f, was, known, below)
	case fs.ModeSymlink:
		s.node.Mode = fs.ModeSymlink | fs.ModePerm
		if s.node.Link, err = os.Readlink(f.Host); known && s.node.Link == was.node.Link {
			s.node.ModTime = was.node.ModTime
		}
	}
	return s, err
}

// content hashes the file and finds out whether it is known.
func (s *source) content(f *tree.Found, was placed, known bool, below *tree.Node) error {
	s.node.Size = f.Stat.Size
	var err error
	if s.node.Sum, err = hashFile(f.Host); err != nil {
		return err
	}
	switch {
	case known && was.node.Regular() && was.node.Sum == s.node.Sum:
		s.node.ModTime = was.node.ModTime
		s.pack, s.index, s.rank = was.pack, was.index, was.rank
	case below != nil && below.Regular() && below.Sum == s.node.Sum:
		s.node.ModTime = below.ModTime
	}
	return nil
}

func hashFile(name string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, fmt.Errorf("hash %s: %w", name, err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
