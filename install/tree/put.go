package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Put places n as dpkg does when it unpacks (dpkg's tarobject). A folder that
// exists stays as it is, also behind a symbolic link; a symbolic link does not
// replace a folder; anything else replaces what is there. The content of a
// regular file was written to the host's path staged before, with its mode and
// time (see [Stage]); it is moved. A hard link's target must have been put.
// Put returns n's place, or "" if what existed was left.
func (v *View) Put(n *Node, staged string) (string, error) {
	p, err := v.put(n, staged)
	if err != nil {
		return "", fmt.Errorf("%s: %w", n.Path, err)
	}
	return p, nil
}

func (v *View) put(n *Node, staged string) (string, error) {
	if n.Mode.IsDir() {
		return "", v.Mkdir(n.Path, UnixMode(n.Mode), n.UID, n.GID)
	}
	p, err := v.Place(n.Path)
	if err != nil {
		return "", err
	}
	if _, st, err := v.Lstat(p); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if n.Mode.Type() == fs.ModeSymlink {
			return "", nil
		}
		return "", errors.New("a folder is in the way")
	}
	switch {
	case n.Hardlink != "":
		err = v.link(n, p)
	case n.Regular():
		if err = unix.Rename(staged, v.Host(p)); err == nil {
			err = v.own(v.Host(p), place{mode: UnixMode(n.Mode), uid: n.UID, gid: n.GID})
		}
	default:
		err = v.special(n, p)
	}
	return p, err
}

// special makes a symbolic link, a device or a pipe.
func (v *View) special(n *Node, p string) error {
	host, mode := v.Host(p), UnixMode(n.Mode)
	if err := v.clear(p); err != nil {
		return err
	}
	if n.Mode.Type() != fs.ModeSymlink {
		if err := v.owners.Mknod(host, fileType(n.Mode)|mode, n.Major, n.Minor); err != nil {
			return err
		}
		return v.own(host, place{mode, n.UID, n.GID, true})
	}
	if err := unix.Symlink(n.Link, host); err != nil {
		return err
	}
	if n.UID != 0 || n.GID != 0 {
		return v.owners.Chown(host, int(n.UID), int(n.GID))
	}
	return nil
}

func (v *View) link(n *Node, p string) error {
	target, err := v.Place(n.Hardlink)
	if err != nil {
		return err
	}
	if err := v.clear(p); err != nil {
		return err
	}
	if err := unix.Link(v.Host(target), v.Host(p)); err != nil {
		return fmt.Errorf("link to %s: %w", n.Hardlink, err)
	}
	return nil
}

func fileType(m fs.FileMode) uint32 {
	switch m.Type() {
	case fs.ModeDevice | fs.ModeCharDevice:
		return unix.S_IFCHR
	case fs.ModeDevice:
		return unix.S_IFBLK
	case fs.ModeSocket:
		return unix.S_IFSOCK
	}
	return unix.S_IFIFO
}

// staging is a file whose content is being written before its place is known.
type staging struct {
	fd   int
	node *Node
	path string
}

// Stage creates the host's file path for the content of n and returns its
// writer; Close gives it n's mode and time. It may be called by several
// goroutines at once.
func Stage(path string, n *Node) (io.WriteCloser, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, uint32(n.Mode.Perm()))
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", n.Path, err)
	}
	return &staging{fd: fd, node: n, path: path}, nil
}

// Write writes all of b.
func (s *staging) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(s.fd, b[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, fmt.Errorf("stage %s: %w", s.node.Path, err)
		}
		done += n
	}
	return done, nil
}

// Close finishes the file.
func (s *staging) Close() error {
	mode := UnixMode(s.node.Mode)
	var err error
	if mode&^0o022 != mode || mode > 0o777 {
		err = unix.Fchmod(s.fd, mode)
	}
	err = errors.Join(err, unix.Close(s.fd), Date(s.path, s.node.ModTime))
	if err != nil {
		return fmt.Errorf("stage %s: %w", s.node.Path, err)
	}
	return nil
}

// Date gives an entry of the host its times of access and change, in seconds since
// 1970. A symbolic link is not followed.
func Date(name string, to int64) error {
	t := unix.NsecToTimespec(to * 1e9)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("give %s its time: %w", name, err)
	}
	return nil
}

// both is the content of two files.
type both struct{ a, b io.WriteCloser }

// StageTwice stages the same content at two paths.
func StageTwice(path, other string, n *Node) (io.WriteCloser, error) {
	a, err := Stage(path, n)
	if err != nil {
		return nil, err
	}
	b, err := Stage(other, n)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return both{a, b}, nil
}

// Write writes all of p to both.
func (t both) Write(p []byte) (int, error) {
	if n, err := t.a.Write(p); err != nil {
		return n, err
	}
	return t.b.Write(p)
}

// Close finishes both.
func (t both) Close() error { return errors.Join(t.a.Close(), t.b.Close()) }
