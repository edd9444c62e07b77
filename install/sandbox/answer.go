package sandbox

import (
	"bytes"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stat answers stat, lstat, fstat and newfstatat where there is a record.
func (s *supervisor) stat(c *call) (int64, error) {
	p, buffer := place{folder: cwd, address: c.args[0], follow: true}, c.args[1]
	var t target
	var err error
	switch c.number {
	case unix.SYS_FSTAT:
		t = descriptor(c, c.args[0])
	case unix.SYS_LSTAT:
		p.follow = false
	case unix.SYS_NEWFSTATAT:
		p, buffer = atPlace(c, c.args[3]), c.args[2]
	}
	if t.path == "" {
		if t, err = s.find(c, p); err != nil {
			return 0, errPass // the kernel says what is wrong
		}
	}
	rec, ok, err := s.records.load(t)
	if err != nil || !ok {
		return 0, errPass
	}
	var st unix.Stat_t
	if t.follow {
		err = unix.Stat(t.path, &st)
	} else {
		err = unix.Lstat(t.path, &st)
	}
	if err != nil {
		return 0, err
	}
	rec.apply(&st)
	return 0, poke(c, buffer, unsafe.Pointer(&st), unsafe.Sizeof(st))
}

// atPlace reads the arguments of a call whose first two are a folder and a
// path, with these flags.
func atPlace(c *call, flags uint64) place {
	return place{
		folder: c.args[0], address: c.args[1],
		follow: flags&unix.AT_SYMLINK_NOFOLLOW == 0,
		empty:  flags&unix.AT_EMPTY_PATH != 0,
	}
}

// statx answers statx where there is a record.
func (s *supervisor) statx(c *call) (int64, error) {
	t, err := s.find(c, atPlace(c, c.args[2]))
	if err != nil {
		return 0, errPass
	}
	rec, ok, err := s.records.load(t)
	if err != nil || !ok {
		return 0, errPass
	}
	flags := int(c.args[2]) &^ (unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW)
	if !t.follow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, t.path, flags, int(c.args[3]), &st); err != nil {
		return 0, err
	}
	if rec.uid != unset {
		st.Uid = uint32(rec.uid)
	}
	if rec.gid != unset {
		st.Gid = uint32(rec.gid)
	}
	if rec.device != 0 {
		st.Mode = st.Mode&^unix.S_IFMT | uint16(rec.kind())
		st.Rdev_major, st.Rdev_minor = rec.major, rec.minor
	}
	return 0, poke(c, c.args[4], unsafe.Pointer(&st), unsafe.Sizeof(st))
}

// chown records an owner.
func (s *supervisor) chown(c *call) (int64, error) {
	p, ids := place{folder: cwd, address: c.args[0], follow: true}, c.args[1:3]
	var t target
	var err error
	switch c.number {
	case unix.SYS_FCHOWN:
		t = descriptor(c, c.args[0])
	case unix.SYS_LCHOWN:
		p.follow = false
	case unix.SYS_FCHOWNAT:
		p, ids = atPlace(c, c.args[4]), c.args[2:4]
	}
	if t.path == "" {
		if t, err = s.find(c, p); err != nil {
			return 0, err
		}
	}
	uid, gid := int(int32(ids[0])), int(int32(ids[1]))
	if err := s.mayChown(c, t, uid, gid); err != nil {
		return 0, err
	}
	err = s.records.own(t, uid, gid)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return 0, nil // a device of the host, which is not part of the tree
	}
	return 0, err
}

// mayChown refuses what the kernel would refuse to one who is not root.
func (s *supervisor) mayChown(c *call, t target, uid, gid int) error {
	if !s.changed {
		return nil
	}
	who, err := identity(c)
	if err != nil || who.uid[effective] == 0 {
		return err
	}
	rec, _, err := s.records.load(t)
	if err != nil {
		return err
	}
	if rec.uid != who.uid[effective] || uid != unset && uid != rec.uid ||
		gid != unset && gid != rec.gid && gid != who.gid[effective] {
		return unix.EPERM
	}
	return nil
}

// listLimit is the longest list of attribute names (xattr(7)).
const listLimit = 65536

// listxattr hides the name of the records, so that programs which copy
// attributes do not copy owners that they did not mean to.
func (s *supervisor) listxattr(c *call) (int64, error) {
	t := descriptor(c, c.args[0])
	var err error
	if c.number != unix.SYS_FLISTXATTR {
		t, err = s.find(c, place{folder: cwd, address: c.args[0], follow: c.number == unix.SYS_LISTXATTR})
		if err != nil {
			return 0, err
		}
	}
	b := s.list[:]
	var n int
	if t.follow {
		n, err = unix.Listxattr(t.path, b)
	} else {
		n, err = unix.Llistxattr(t.path, b)
	}
	if err != nil {
		return 0, err
	}
	list := withoutRecord(b[:n])
	switch size := c.args[2]; {
	case size == 0 || len(list) == 0:
		return int64(len(list)), nil
	case size < uint64(len(list)):
		return 0, unix.ERANGE
	}
	return int64(len(list)), poke(c, c.args[1], unsafe.Pointer(&list[0]), uintptr(len(list)))
}

// withoutRecord removes the record's name from a list of names, each of which
// ends with a zero.
func withoutRecord(list []byte) []byte {
	var kept []byte
	for name := range bytes.SplitAfterSeq(list, []byte{0}) {
		if string(name) != recordName+"\x00" {
			kept = append(kept, name...)
		}
	}
	return kept
}

// chroot passes, but from then on paths of callers need more care.
func (s *supervisor) chroot(*call) (int64, error) {
	s.nested = true
	return 0, errPass
}
