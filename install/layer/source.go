package layer

import (
	"io/fs"
	"os"

	"ore/install/pack"
	"ore/install/tree"
	"ore/squashfs"
)

// Source is an entry and where its content comes from. A whiteout stands for a
// name that was removed, and all below it.
type Source struct {
	Node  tree.Node
	Pack  *pack.Pack // if the content is a package's
	Index int        // in the pack
	Rank  int        // the package's
	Host  string     // else: the file
	Inode Inode      // of a file with several names
}

// Inode tells files of the host apart; the zero value is for files that have
// one name.
type Inode struct{ Device, Number uint64 }

// Whiteout returns the entry that removes name.
func Whiteout(name string, epoch int64) Source {
	return Source{Rank: -1, Node: tree.Node{Entry: squashfs.Entry{
		Path: name, Mode: fs.ModeDevice | fs.ModeCharDevice, ModTime: epoch,
	}}}
}

// add writes the entry.
func (s *Source) add(w *squashfs.Writer) error {
	e := s.Node.Entry
	if !e.Mode.IsRegular() || e.Hardlink != "" {
		return w.Add(e, nil)
	}
	if s.Pack != nil {
		return s.Pack.AddTo(w, e, s.Index)
	}
	f, err := os.Open(s.Host)
	if err != nil {
		return err
	}
	defer f.Close()
	return w.Add(e, f)
}
