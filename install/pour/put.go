package pour

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ore/install/tree"
)

// writer makes names in a folder. No symbolic link is followed there: all
// folders are made or looked at before anything is put into them.
type writer struct{ root string }

func (w *writer) path(n *node) string { return w.root + "/" + n.Path }

// frame makes all that has no content. Folders get their modes and times when
// all is in them.
func (w *writer) frame(t *merged) error {
	for _, n := range t.nodes {
		var err error
		switch {
		case n.Mode.IsDir():
			err = w.folder(n)
		case n.Mode.IsRegular() || n.Hardlink != "":
		default:
			err = w.special(n)
		}
		if err != nil {
			return fmt.Errorf("make /%s: %w", n.Path, err)
		}
	}
	return nil
}

// folder makes a folder, or finds that there is one.
func (w *writer) folder(n *node) error {
	err := unix.Mkdir(w.path(n), 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(w.path(n), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

// special makes a link, a device, a pipe or a socket.
func (w *writer) special(n *node) error {
	name, mode := w.path(n), tree.UnixMode(n.Mode)
	if n.Mode.Type() == fs.ModeSymlink {
		if err := unix.Symlink(n.Link, name); err != nil {
			return err
		}
		if err := unix.Lchown(name, int(n.UID), int(n.GID)); err != nil {
			return err
		}
		return w.time(n)
	}
	kind := uint32(unix.S_IFIFO)
	switch n.Mode.Type() {
	case fs.ModeDevice | fs.ModeCharDevice:
		kind = unix.S_IFCHR
	case fs.ModeDevice:
		kind = unix.S_IFBLK
	case fs.ModeSocket:
		kind = unix.S_IFSOCK
	}
	if err := unix.Mknod(name, kind|mode, int(unix.Mkdev(n.Major, n.Minor))); err != nil {
		return err
	}
	return w.own(n)
}

// own sets owner, mode and time, in this order: a change of the owner takes the
// set-user-ID bit away (chown(2)).
func (w *writer) own(n *node) error {
	if err := unix.Lchown(w.path(n), int(n.UID), int(n.GID)); err != nil {
		return err
	}
	if err := unix.Chmod(w.path(n), tree.UnixMode(n.Mode)); err != nil {
		return err
	}
	return w.time(n)
}

func (w *writer) time(n *node) error {
	t := unix.NsecToTimespec(n.ModTime * 1e9)
	return unix.UtimesNanoAt(unix.AT_FDCWD, w.path(n), []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// create makes a regular file; only the first call does.
func (w *writer) create(n *node) error {
	n.once.Do(func() {
		n.out, n.err = os.OpenFile(w.path(n), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	})
	return n.err
}

// capability is the attribute that holds a file's capabilities (capabilities(7)).
const capability = "security.capability"

// complete gives a file whose content is written all else.
func (w *writer) complete(n *node) error {
	err := errors.Join(w.attributes(n), n.out.Close())
	n.out = nil
	if err != nil {
		return err
	}
	return w.time(n)
}

// attributes sets the size, since zeros at the end are not written, and what own
// sets, and the capability, which a change of the owner would take away.
func (w *writer) attributes(n *node) error {
	fd := int(n.out.Fd())
	if err := unix.Ftruncate(fd, n.Size); err != nil {
		return err
	}
	if err := unix.Fchown(fd, int(n.UID), int(n.GID)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, tree.UnixMode(n.Mode)); err != nil {
		return err
	}
	if n.capability == nil {
		return nil
	}
	if err := unix.Fsetxattr(fd, capability, n.capability, 0); err != nil {
		return fmt.Errorf("set capability: %w: the file system must have extended attributes", err)
	}
	return nil
}

// abandon closes the files that an error left open.
func (w *writer) abandon(files []*node) error {
	var err error
	for _, n := range files {
		if n.out != nil {
			err = errors.Join(err, n.out.Close())
			n.out = nil
		}
	}
	return err
}

// finish makes the further names of files, and gives folders what they should
// have, from the bottom up.
func (w *writer) finish(t *merged) error {
	for _, n := range t.nodes {
		if n.Hardlink == "" {
			continue
		}
		if err := unix.Link(w.root+"/"+n.Hardlink, w.path(n)); err != nil {
			return fmt.Errorf("link /%s to /%s: %w", n.Path, n.Hardlink, err)
		}
	}
	for _, n := range slices.Backward(t.nodes) {
		if !n.Mode.IsDir() {
			continue
		}
		if err := w.own(n); err != nil {
			return fmt.Errorf("make /%s: %w", n.Path, err)
		}
	}
	return nil
}
