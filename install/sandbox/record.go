package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// recordName is the extended attribute that holds an inode's record.
const recordName = "user.ore.owner"

// recordSize bounds a record's text: five decimal numbers and a letter.
const recordSize = 64

// unset stands for an id that is what the inode says.
const unset = -1

// record is what an inode is meant to be where it can not be it. Its text is
// "UID:GID", followed by " c MAJOR:MINOR" or " b MAJOR:MINOR" for a device; an
// id that the inode itself has right is written as "-".
type record struct {
	uid, gid     int
	device       byte // 'c', 'b' or 0
	major, minor uint32
}

// plain is what an inode without a record is.
func plain() record { return record{} }

func (r record) append(b []byte) []byte {
	b = appendID(b, r.uid)
	b = append(b, ':')
	b = appendID(b, r.gid)
	if r.device != 0 {
		b = append(b, ' ', r.device, ' ')
		b = strconv.AppendUint(b, uint64(r.major), 10)
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(r.minor), 10)
	}
	return b
}

func appendID(b []byte, id int) []byte {
	if id == unset {
		return append(b, '-')
	}
	return strconv.AppendInt(b, int64(id), 10)
}

func parseRecord(b []byte) (record, error) {
	var r record
	ids, device, isDevice := bytes.Cut(b, []byte{' '})
	u, g, ok := bytes.Cut(ids, []byte{':'})
	var uok, gok bool
	r.uid, uok = parseID(u)
	r.gid, gok = parseID(g)
	if !ok || !uok || !gok {
		return r, fmt.Errorf("owner record %q: not UID:GID", b)
	}
	if !isDevice {
		return r, nil
	}
	kind, numbers, ok := bytes.Cut(device, []byte{' '})
	if !ok || len(kind) != 1 || kind[0] != 'c' && kind[0] != 'b' {
		return r, fmt.Errorf("owner record %q: no kind of device", b)
	}
	r.device = kind[0]
	major, minor, ok := bytes.Cut(numbers, []byte{':'})
	x, err := strconv.ParseUint(string(major), 10, 32)
	y, err2 := strconv.ParseUint(string(minor), 10, 32)
	if !ok || err != nil || err2 != nil {
		return r, fmt.Errorf("owner record %q: not MAJOR:MINOR", b)
	}
	r.major, r.minor = uint32(x), uint32(y)
	return r, nil
}

func parseID(b []byte) (int, bool) {
	if len(b) == 1 && b[0] == '-' {
		return unset, true
	}
	n, err := strconv.ParseUint(string(b), 10, 32)
	return int(n), err == nil
}

// target is a name for an inode: a path, and whether a symbolic link at its
// end is followed. Descriptors are named by links in /proc that lead to the
// inode itself, so they are followed.
type target struct {
	path   string
	follow bool
}

func (t target) getxattr(name string, b []byte) (int, error) {
	if t.follow {
		return unix.Getxattr(t.path, name, b)
	}
	return unix.Lgetxattr(t.path, name, b)
}

func (t target) setxattr(name string, b []byte) error {
	if t.follow {
		return unix.Setxattr(t.path, name, b, 0)
	}
	return unix.Lsetxattr(t.path, name, b, 0)
}

// statx asks for what the owner table needs.
func (t target) statx() (unix.Statx_t, error) {
	flags := unix.AT_STATX_DONT_SYNC
	if !t.follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, t.path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	return st, err
}

// chownReal lets the kernel do what every chown does beside setting the owner:
// it takes away set-user-ID bits and capabilities.
func (t target) chownReal() error {
	if t.follow {
		return unix.Chown(t.path, 0, 0)
	}
	return unix.Lchown(t.path, 0, 0)
}

// records keeps what inodes are meant to be.
type records struct {
	table *table // for inodes that take no attributes; nil where ids are real
}

// load returns the record of an inode, and false if it has none.
func (r records) load(t target) (record, bool, error) {
	var buf [recordSize]byte
	n, err := t.getxattr(recordName, buf[:])
	switch {
	case err == nil:
		rec, err := parseRecord(buf[:n])
		return rec, err == nil, err
	case !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP):
		return plain(), false, err
	case r.table == nil || r.table.empty():
		return plain(), false, nil
	}
	st, err := t.statx()
	if err != nil || !tabled(st.Mode) {
		return plain(), false, err
	}
	rec, ok := r.table.find(&st)
	return rec, ok, nil
}

// tabled reports whether inodes of this mode take no user attributes.
func tabled(mode uint16) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFDIR:
		return false
	}
	return true
}

// store sets the record of an inode.
func (r records) store(t target, rec record) error {
	var buf [recordSize]byte
	err := t.setxattr(recordName, rec.append(buf[:0]))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: this file system keeps no user extended attributes: use ext4, xfs, btrfs, or tmpfs from Linux 6.6", err)
	case !errors.Is(err, unix.EPERM) || r.table == nil:
		return err
	}
	st, serr := t.statx()
	if serr != nil {
		return serr
	}
	if !tabled(st.Mode) {
		return err
	}
	return r.table.add(&st, rec)
}

// own records a new owner; -1 leaves an id as it is.
func (r records) own(t target, uid, gid int) error {
	rec, known, err := r.load(t)
	if err != nil {
		return err
	}
	if err := t.chownReal(); err != nil {
		return err
	}
	if uid != unset {
		rec.uid = uid
	}
	if gid != unset {
		rec.gid = gid
	}
	if !known && rec == plain() {
		return nil
	}
	return r.store(t, rec)
}
