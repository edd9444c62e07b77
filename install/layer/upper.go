package layer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore/install/tree"
	"ore/squashfs"
)

// Upper is a folder that a build writes to: a whole tree, or the upper folder
// of an overlay.
type Upper struct {
	Dir     string
	Owners  tree.Owners
	Epoch   int64             // the time of entries that no package brought
	Placed  map[string]Source // what packages brought, by place, without the host's file
	settled unix.Timespec     // entries that changed later were touched by a script
}

// Settle notes the time after which entries were touched by scripts. It waits
// for the file system's clock, which moves in ticks, to go beyond it; mark is a
// file that it makes beside the folder for that.
func (u *Upper) Settle(mark string) error {
	var first unix.Timespec
	for i := 0; ; i++ {
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(mark, &st); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		if i == 0 {
			first = st.Ctim
		} else if after(st.Ctim, first) {
			u.settled = first
			return nil
		}
		if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("settle: %w", err)
		}
	}
}

func after(a, b unix.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

// Scan finds all of a folder that is a whole tree, and gives what scripts made or
// touched its time in the layer: a tree that is unpacked from that has the same.
func (u *Upper) Scan() ([]tree.Found, error) {
	found, err := tree.Scan(u.Dir, false)
	for i := range found {
		f := &found[i]
		to := u.Epoch
		if was, known := u.Placed[f.Path]; known && (f.Stat.Mtim.Sec == was.Node.ModTime || f.Stat.Mode&unix.S_IFMT == unix.S_IFLNK) {
			to = was.Node.ModTime
		}
		if err := date(f, to); err != nil {
			return nil, err
		}
	}
	return found, err
}

// date gives what was found a time, in seconds. The folder's own says when it was used.
func date(f *tree.Found, to int64) error {
	if f.Path == "." || f.Stat.Mtim == (unix.Timespec{Sec: to}) {
		return nil
	}
	return tree.Date(f.Host, to)
}

// All lists what was found in the folder.
func (u *Upper) All(found []tree.Found) ([]Source, error) {
	return u.examineAll(found, nil)
}

// examineAll examines what was found, on all cores: of what scripts made, Python's
// modules above all, the content is read. Over a tree, what takes away is left empty.
func (u *Upper) examineAll(found []tree.Found, below *Tree) ([]Source, error) {
	list := make([]Source, len(found))
	var g errgroup.Group
	var next atomic.Int64
	for range runtime.NumCPU() {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < len(found); i = int(next.Add(1)) - 1 {
				f := &found[i]
				var old *tree.Node
				if below != nil {
					if f.Whiteout() {
						continue
					}
					old = below.Get(f.Path)
				}
				var err error
				if list[i], err = u.examine(f, old); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return list, g.Wait()
}

// differ collects changes.
type differ struct {
	*Upper
	below  *Tree
	hidden map[string]bool // folders that hide all below them: opaque, or in an opaque one
	list   Changes
}

// Changes lists what the folder changes in the tree below it. An entry that is
// as below is left out. All in the folder gets the time that it has in a tree
// unpacked from layers, so that programs cannot tell which of the two is below them.
func (u *Upper) Changes(below *Tree) (Changes, error) {
	found, err := tree.Scan(u.Dir, true)
	if err != nil {
		return nil, err
	}
	examined, err := u.examineAll(found, below)
	if err != nil {
		return nil, err
	}
	d := &differ{Upper: u, below: below, hidden: map[string]bool{}}
	present := map[string]bool{}
	for i := range found {
		present[found[i].Path] = true
	}
	for i := range found {
		f := &found[i]
		old := below.Get(f.Path)
		if f.Whiteout() {
			d.whiteout(f.Path)
			continue
		}
		s := &examined[i]
		to := s.Node.ModTime
		if old == nil || !tree.Same(old, &s.Node) {
			d.list = append(d.list, *s)
		} else if !f.Dir() {
			to = old.ModTime
		}
		if err := date(f, to); err != nil {
			return nil, err
		}
		if f.Dir() {
			d.hide(f, old, present)
		}
	}
	return d.list, nil
}

// whiteout takes a name away that exists below.
func (d *differ) whiteout(name string) {
	if d.below.Get(name) != nil {
		d.list = append(d.list, Whiteout(name, d.Epoch))
	}
}

// hide replaces the mark of an opaque folder by whiteouts for all that it hides.
func (d *differ) hide(f *tree.Found, old *tree.Node, present map[string]bool) {
	if !f.Opaque && !d.hidden[path.Dir(f.Path)] || f.Path == "." {
		return
	}
	d.hidden[f.Path] = true
	if old == nil || !old.Mode.IsDir() {
		return
	}
	for _, name := range d.below.Children(f.Path) {
		if !present[name] {
			d.whiteout(name)
		}
	}
}

// examine tells what the entry that was found is meant to be. What no script
// touched is as its package brought it; of what was touched the content is read
// and compared with what the package brought, or with the entry below.
func (u *Upper) examine(f *tree.Found, below *tree.Node) (Source, error) {
	was, known := u.Placed[f.Path]
	s := Source{Host: f.Host}
	if f.Stat.Nlink > 1 && !f.Dir() {
		s.Inode = Inode{Device: f.Stat.Dev, Number: f.Stat.Ino}
	}
	if known && !after(f.Stat.Ctim, u.settled) && was.Node.Regular() {
		s.Node, s.Pack, s.Index, s.Rank = was.Node, was.Pack, was.Index, was.Rank
		s.Node.Path = f.Path
		return s, nil
	}
	o, err := u.Owners.Owner(f.Host)
	if err != nil {
		return s, err
	}
	s.Node = tree.Node{
		Entry: squashfs.Entry{
			Path: f.Path, Mode: o.Mode, UID: o.UID, GID: o.GID,
			Major: o.Major, Minor: o.Minor, ModTime: u.Epoch,
		},
		Capability: o.Capability,
	}
	switch o.Mode.Type() {
	case 0:
		s.Node.Size = f.Stat.Size
		if s.Node.Sum, err = Hash(f.Host); err == nil {
			s.recognise(&was, below)
		}
	case fs.ModeSymlink:
		s.Node.Mode = fs.ModeSymlink | fs.ModePerm
		if s.Node.Link, err = os.Readlink(f.Host); known && s.Node.Link == was.Node.Link {
			s.Node.ModTime = was.Node.ModTime
		}
	}
	return s, err
}

// recognise finds out whether the file's content is what its package brought, or
// what is below.
func (s *Source) recognise(was *Source, below *tree.Node) {
	switch {
	case was.Pack != nil && was.Node.Regular() && was.Node.Sum == s.Node.Sum:
		s.Node.ModTime = was.Node.ModTime
		s.Pack, s.Index, s.Rank = was.Pack, was.Index, was.Rank
	case below != nil && below.Regular() && below.Sum == s.Node.Sum:
		s.Node.ModTime = below.ModTime
	}
}

// Hash returns the hash of a file of the host.
func Hash(name string) (sum [sha256.Size]byte, err error) {
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
