package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"ore/squashfs"
)

// Entry is one name of the file system, as package squashfs describes it.
type Entry struct {
	squashfs.Entry
	Capability []byte                        // security.capability, nil for none
	Open       func() (io.ReadCloser, error) // the content of a regular file that is no hard link; gives exactly Size bytes
}

// Limits of the format.
const (
	maxName       = 255   // the length field of a directory entry has 8 bits
	maxLink       = 4095  // a target and its NUL fill one block
	inlineLink    = 59    // a target and its NUL fit where the extents would stand
	maxLinks      = 65000 // EXT4_LINK_MAX
	maxCapability = 64    // what the inode has room for beside the attribute's name; revision 3 has 24 bytes

	// A file's list of extents has one level of blocks below the inode, which
	// is enough for as much as this wherever its blocks come to stand.
	maxFile = inodeExtents * leafExtents * (groupBlocks / 2) * blockSize
)

// Types of stat(2)'s st_mode, and those of directory entries.
const (
	typeFifo    = 0o010000
	typeChar    = 0o020000
	typeFolder  = 0o040000
	typeBlock   = 0o060000
	typeRegular = 0o100000
	typeSymlink = 0o120000
	typeSocket  = 0o140000
)

// kind returns the type bits of st_mode for m and the type that stands in
// directory entries.
func kind(m fs.FileMode) (uint16, uint8, error) {
	switch m.Type() {
	case 0:
		return typeRegular, 1, nil
	case fs.ModeDir:
		return typeFolder, 2, nil
	case fs.ModeDevice | fs.ModeCharDevice:
		return typeChar, 3, nil
	case fs.ModeDevice:
		return typeBlock, 4, nil
	case fs.ModeNamedPipe:
		return typeFifo, 5, nil
	case fs.ModeSocket:
		return typeSocket, 6, nil
	case fs.ModeSymlink:
		return typeSymlink, 7, nil
	}
	return 0, 0, fmt.Errorf("mode %v: no such type of file", m)
}

// unixMode returns st_mode for m.
func unixMode(m fs.FileMode) uint16 {
	bits, _, err := kind(m)
	if err != nil {
		panic("ext4: an entry was not checked: " + err.Error())
	}
	bits |= uint16(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// check says what of e the format cannot hold.
func (e *Entry) check() error {
	if _, _, err := kind(e.Mode); err != nil {
		return err
	}
	switch {
	case e.Mode.IsRegular() && (e.Size < 0 || e.Size > maxFile):
		return fmt.Errorf("size %d: a file of at most %d bytes can be written", e.Size, int64(maxFile))
	case e.Mode.IsRegular() && e.Size > 0 && e.Open == nil && e.Hardlink == "":
		return errors.New("file without content")
	case e.Mode&fs.ModeSymlink != 0 && (e.Link == "" || len(e.Link) > maxLink):
		return fmt.Errorf("symbolic link of %d bytes: 1 to %d are allowed", len(e.Link), maxLink)
	case e.ModTime < 0 || e.ModTime >= 1<<32:
		return fmt.Errorf("modification time %d: outside of 1970 to 2106", e.ModTime)
	case len(e.Capability) > maxCapability:
		return fmt.Errorf("capability of %d bytes: at most %d are allowed", len(e.Capability), maxCapability)
	}
	return nil
}
