package squashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
)

// Entry is one name of an image.
type Entry struct {
	Path         string      // relative, slash-separated, clean; "." is the root folder
	Mode         fs.FileMode // type, permission, setuid, setgid and sticky bits
	UID, GID     uint32
	ModTime      int64  // seconds since 1970, fits uint32
	Size         int64  // of regular files
	Link         string // target of a symbolic link
	Hardlink     string // path of an entry added before, of which this is another name; all else but Path is then ignored
	Major, Minor uint32 // of devices; char 0:0 is a whiteout
}

// Limits of device numbers in an image: the kernel's 32-bit form has 12 bits
// of major and 20 bits of minor number (new_encode_dev in linux/kdev_t.h).
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// check says what is wrong with e as the writer's input. Hard links are
// checked by their path alone.
func (e *Entry) check() error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Hardlink != "" {
		return nil
	}
	kind, err := inodeType(e.Mode)
	if err != nil {
		return err
	}
	switch {
	case e.ModTime < 0 || e.ModTime > math.MaxUint32:
		return fmt.Errorf("modification time %d: outside of 1970 to 2106, which is all squashfs can hold", e.ModTime)
	case kind == typeFile && e.Size < 0:
		return fmt.Errorf("size %d: negative", e.Size)
	case kind == typeSymlink && (e.Link == "" || len(e.Link) > maxLink || strings.IndexByte(e.Link, 0) >= 0):
		return fmt.Errorf("symbolic link of %d bytes: 1 to %d without NUL are allowed", len(e.Link), maxLink)
	case e.Mode&fs.ModeDevice != 0 && (e.Major > maxMajor || e.Minor > maxMinor):
		return fmt.Errorf("device %d:%d: beyond %d:%d", e.Major, e.Minor, maxMajor, maxMinor)
	case e.Path == "." && kind != typeDir:
		return errors.New("the root is not a folder")
	}
	return nil
}

// checkPath accepts relative, clean paths of any bytes but NUL: file names are
// not text on Linux, so fs.ValidPath would be too strict.
func checkPath(p string) error {
	if p == "." {
		return nil
	}
	if strings.IndexByte(p, 0) >= 0 {
		return errors.New("path holds a NUL byte")
	}
	for name := range strings.SplitSeq(p, "/") {
		switch {
		case name == "" || name == "." || name == "..":
			return errors.New("path is not relative and clean")
		case len(name) > maxName:
			return fmt.Errorf("name of %d bytes: at most %d are allowed", len(name), maxName)
		}
	}
	return nil
}

// inodeType returns the basic inode type for m.
func inodeType(m fs.FileMode) (uint16, error) {
	switch m.Type() {
	case 0:
		return typeFile, nil
	case fs.ModeDir:
		return typeDir, nil
	case fs.ModeSymlink:
		return typeSymlink, nil
	case fs.ModeDevice:
		return typeBlockDev, nil
	case fs.ModeDevice | fs.ModeCharDevice:
		return typeCharDev, nil
	case fs.ModeNamedPipe:
		return typeFifo, nil
	case fs.ModeSocket:
		return typeSocket, nil
	}
	return 0, fmt.Errorf("mode %v: no such type of file in squashfs", m)
}

// Bits of stat(2)'s st_mode beyond the permissions.
const (
	bitSetuid = 0o4000
	bitSetgid = 0o2000
	bitSticky = 0o1000
)

// unixMode returns the 12 bits that squashfs keeps of m.
func unixMode(m fs.FileMode) uint16 {
	u := uint16(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= bitSetuid
	}
	if m&fs.ModeSetgid != 0 {
		u |= bitSetgid
	}
	if m&fs.ModeSticky != 0 {
		u |= bitSticky
	}
	return u
}

// goMode is the inverse of inodeType and unixMode; kind is a basic type.
func goMode(kind, u uint16) fs.FileMode {
	types := [...]fs.FileMode{
		typeDir: fs.ModeDir, typeFile: 0, typeSymlink: fs.ModeSymlink, typeBlockDev: fs.ModeDevice,
		typeCharDev: fs.ModeDevice | fs.ModeCharDevice, typeFifo: fs.ModeNamedPipe, typeSocket: fs.ModeSocket,
	}
	m := types[kind] | fs.FileMode(u)&fs.ModePerm
	if u&bitSetuid != 0 {
		m |= fs.ModeSetuid
	}
	if u&bitSetgid != 0 {
		m |= fs.ModeSetgid
	}
	if u&bitSticky != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// encodeDevice and decodeDevice are new_encode_dev and its inverse of
// linux/kdev_t.h.
func encodeDevice(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

func decodeDevice(d uint32) (major, minor uint32) {
	return d >> 8 & 0xfff, d&0xff | d>>12&^0xff
}
