// Package plain makes plain files of a tree's entries, as root: what a machine
// has that starts from its own disk.
//
// No symbolic link is followed: a folder is made, or looked at, before anything
// is put into it. What is there before stays as it is, and only folders may be
// there, such as those on which other file systems are mounted.
package plain

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"

	"ore/install/tree"
)

// Writer makes entries in a folder.
type Writer struct{ Root string }

// Path returns the host's path of a name in the tree.
func (w Writer) Path(name string) string { return w.Root + "/" + name }

// Frame makes an entry if it has no content: a folder, which gets its mode and
// time by Own when all is in it, a link, a device, a pipe or a socket.
func (w Writer) Frame(n *tree.Node) error {
	var err error
	switch {
	case n.Mode.IsDir():
		err = w.folder(n)
	case !n.Mode.IsRegular():
		err = w.special(n)
	}
	if err != nil {
		return fmt.Errorf("make /%s: %w", n.Path, err)
	}
	return nil
}

// folder makes a folder, or finds that there is one.
func (w Writer) folder(n *tree.Node) error {
	err := unix.Mkdir(w.Path(n.Path), 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(w.Path(n.Path), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return nil
}

func (w Writer) special(n *tree.Node) error {
	name, kind := w.Path(n.Path), uint32(unix.S_IFIFO)
	switch n.Mode.Type() {
	case fs.ModeSymlink:
		if err := unix.Symlink(n.Link, name); err != nil {
			return err
		}
		return w.own(n)
	case fs.ModeDevice | fs.ModeCharDevice:
		kind = unix.S_IFCHR
	case fs.ModeDevice:
		kind = unix.S_IFBLK
	case fs.ModeSocket:
		kind = unix.S_IFSOCK
	}
	if err := unix.Mknod(name, kind|tree.UnixMode(n.Mode), int(unix.Mkdev(n.Major, n.Minor))); err != nil {
		return err
	}
	return w.own(n)
}

// Link makes an entry that is another name of the one that n.Hardlink names. Where
// that is on another file system, it becomes a file of its own.
func (w Writer) Link(n *tree.Node) error {
	err := unix.Link(w.Path(n.Hardlink), w.Path(n.Path))
	if errors.Is(err, unix.EXDEV) {
		if !n.Mode.IsRegular() {
			return w.Frame(n)
		}
		if err = bring(w.Path(n.Hardlink), w.Path(n.Path)); err == nil {
			return w.Own(n)
		}
	}
	if err != nil {
		return fmt.Errorf("link /%s to /%s: %w", n.Path, n.Hardlink, err)
	}
	return nil
}

// Own gives an entry its owner, mode, capability and time.
func (w Writer) Own(n *tree.Node) error {
	if err := w.own(n); err != nil {
		return fmt.Errorf("own /%s: %w", n.Path, err)
	}
	return nil
}

// OwnOpen is Own of a regular file that is open as fd and has all its content.
// No path is looked up for it, of which User Mode Linux makes much.
func (w Writer) OwnOpen(fd int, n *tree.Node) error {
	err := unix.Fchown(fd, int(n.UID), int(n.GID))
	if err == nil {
		err = unix.Fchmod(fd, tree.UnixMode(n.Mode))
	}
	if err == nil && n.Capability != nil {
		err = unix.Fsetxattr(fd, capability, n.Capability, 0)
	}
	if err == nil {
		t := unix.NsecToTimespec(n.ModTime * 1e9)
		times := [2]unix.Timespec{t, t}
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0) // futimens(3)
		if errno != 0 {
			err = errno
		}
	}
	if err != nil {
		return fmt.Errorf("own /%s: %w", n.Path, err)
	}
	return nil
}

// capability is the attribute that a file capability is in (capabilities(7)).
const capability = "security.capability"

// own sets the owner first, since that takes the set-user-ID bit and the
// capability away (chown(2), capabilities(7)).
func (w Writer) own(n *tree.Node) error {
	name := w.Path(n.Path)
	if err := unix.Lchown(name, int(n.UID), int(n.GID)); err != nil {
		return err
	}
	if n.Mode.Type() != fs.ModeSymlink {
		if err := unix.Chmod(name, tree.UnixMode(n.Mode)); err != nil {
			return err
		}
	}
	if n.Capability != nil {
		if err := unix.Lsetxattr(name, capability, n.Capability, 0); err != nil {
			return fmt.Errorf("set capability: %w: the file system must have extended attributes", err)
		}
	}
	t := unix.NsecToTimespec(n.ModTime * 1e9)
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}
