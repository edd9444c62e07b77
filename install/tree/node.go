package tree

import (
	"crypto/sha256"
	"fmt"
	"io/fs"

	"ore/image"
	"ore/squashfs"
)

// Node is one name of a tree and all that the project keeps of it: what a
// layer's writer needs, the content's hash, and the file capability, which
// layers cannot hold.
type Node struct {
	squashfs.Entry
	Sum        [sha256.Size]byte // of a regular file's content
	Capability []byte            // security.capability (linux/capability.h), nil for none
}

// Regular tells whether n is a file with content.
func (n *Node) Regular() bool { return n.Mode.IsRegular() }

// Whiteout tells whether n stands for a name that was removed.
func (n *Node) Whiteout() bool {
	return n.Mode.Type() == fs.ModeDevice|fs.ModeCharDevice && n.Major == 0 && n.Minor == 0
}

// Item returns n's line of a tree listing. Hard links must have been resolved:
// a listing has the content under each name.
func (n *Node) Item() (image.Item, error) {
	it := image.Item{
		Path: n.Path, Mode: UnixMode(n.Mode), UID: n.UID, GID: n.GID,
		Link: n.Link, Major: n.Major, Minor: n.Minor, Capability: n.Capability,
	}
	switch n.Mode.Type() {
	case 0:
		it.Type, it.Content = 'f', n.Sum
	case fs.ModeDir:
		it.Type = 'd'
	case fs.ModeSymlink:
		it.Type = 'l'
	case fs.ModeDevice | fs.ModeCharDevice:
		it.Type = 'c'
	case fs.ModeDevice:
		it.Type = 'b'
	case fs.ModeNamedPipe:
		it.Type = 'p'
	default:
		return it, fmt.Errorf("%s: a file of type %v has no place in an image", n.Path, n.Mode.Type())
	}
	if it.Type == 'l' {
		it.Mode = 0o777 // the kernel ignores a link's own permissions
	}
	return it, nil
}

// Same tells whether a and b are alike in all that a tree digest covers.
func Same(a, b *Node) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Link == b.Link &&
		a.Major == b.Major && a.Minor == b.Minor && a.Sum == b.Sum && string(a.Capability) == string(b.Capability)
}

// UnixMode returns the 12 permission bits of stat(2).
func UnixMode(m fs.FileMode) uint32 {
	u := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		u |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		u |= 0o1000
	}
	return u
}

// GoMode is the inverse of UnixMode.
func GoMode(u uint32) fs.FileMode {
	m := fs.FileMode(u & 0o777)
	if u&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if u&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if u&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}
