package sandbox

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// capabilityName is the attribute that holds a program's capabilities.
const capabilityName = "security.capability"

// capabilitySize is the size of struct vfs_ns_cap_data, the longest form.
const capabilitySize = 24

// Stat is what a file of a tree is meant to be.
type Stat struct {
	Mode         fs.FileMode // type, permissions, set-user-ID, set-group-ID and sticky bits
	UID, GID     uint32
	Major, Minor uint32 // of a device
	Capability   []byte // value of security.capability, in the form without a namespace; nil for none
}

// Owner returns what the file at path is meant to be. It does not follow a
// symbolic link at the end of path.
func (s *Sandbox) Owner(path string) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Stat{}, &fs.PathError{Op: "owner", Path: path, Err: err}
	}
	rec, known, err := s.recordOf(path, &st)
	if err != nil {
		return Stat{}, &fs.PathError{Op: "owner", Path: path, Err: err}
	}
	o := Stat{UID: st.Uid, GID: st.Gid}
	if known || s.tier == Single {
		rec.apply(&st)
		o.UID, o.GID = st.Uid, st.Gid
	}
	o.Mode = fileMode(st.Mode)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR, unix.S_IFBLK:
		o.Major, o.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFREG:
		if o.Capability, err = capability(path); err != nil {
			return Stat{}, &fs.PathError{Op: "owner", Path: path, Err: err}
		}
	}
	return o, nil
}

// recordOf loads the record of a file where it can have one.
func (s *Sandbox) recordOf(path string, st *unix.Stat_t) (record, bool, error) {
	switch {
	case s.tier == Root:
		return plain(), false, nil
	case s.tier == SubIDs && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != 0):
		return plain(), false, nil
	}
	return s.records.load(target{path: path})
}

// apply makes st what the record says.
func (r record) apply(st *unix.Stat_t) {
	if r.uid != unset {
		st.Uid = uint32(r.uid)
	}
	if r.gid != unset {
		st.Gid = uint32(r.gid)
	}
	if r.device != 0 {
		st.Mode = st.Mode&^unix.S_IFMT | r.kind()
		st.Rdev = unix.Mkdev(r.major, r.minor)
	}
}

// kind returns the file type bits of a recorded device.
func (r record) kind() uint32 {
	if r.device == 'b' {
		return unix.S_IFBLK
	}
	return unix.S_IFCHR
}

func capability(path string) ([]byte, error) {
	var buf [capabilitySize]byte
	n, err := unix.Lgetxattr(path, capabilityName, buf[:])
	switch {
	case err == nil:
		return append([]byte(nil), buf[:n]...), nil
	case errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP):
		return nil, nil
	}
	return nil, err
}

// Chown makes uid and gid the owners of the file at path, not following a
// symbolic link; -1 leaves an id as it is. As with the system call, bits such
// as set-user-ID and capabilities of a regular file are lost: set them later.
func (s *Sandbox) Chown(path string, uid, gid int) error {
	var err error
	if s.tier == Single {
		err = s.records.own(target{path: path}, uid, gid)
	} else {
		err = unix.Lchown(path, uid, gid)
	}
	if err != nil {
		return &fs.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}

// Mknod makes a file of a type that mknod(2) can make; mode has its type and
// permissions as there, and no umask applies.
func (s *Sandbox) Mknod(path string, mode uint32, major, minor uint32) error {
	var err error
	kind := mode & unix.S_IFMT
	if s.tier != Root && (kind == unix.S_IFCHR || kind == unix.S_IFBLK) {
		err = s.records.standIn(path, mode, ownerOf(s.tier), unix.Mkdev(major, minor))
	} else {
		err = unix.Mknod(path, mode, int(unix.Mkdev(major, minor)))
	}
	if err != nil {
		return &fs.PathError{Op: "mknod", Path: path, Err: err}
	}
	return nil
}

// ownerOf returns the record of a file that root just made: with real ids it
// says nothing about them.
func ownerOf(t Tier) record {
	if t == Single {
		return plain()
	}
	return record{uid: unset, gid: unset}
}

// standIn makes an empty regular file and records it as a device of owner. The
// process must have no umask.
func (r records) standIn(path string, mode uint32, owner record, device uint64) error {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode&0o7777)
	if err != nil {
		return err
	}
	unix.Close(fd)
	owner.device = 'c'
	if mode&unix.S_IFMT == unix.S_IFBLK {
		owner.device = 'b'
	}
	owner.major, owner.minor = unix.Major(device), unix.Minor(device)
	if err := r.store(target{path: path}, owner); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

// Setxattr sets an extended attribute, not following a symbolic link. In user
// namespaces the kernel ties security.capability to the namespace and takes
// the tie off again when Owner reads it.
func (s *Sandbox) Setxattr(path, name string, value []byte) error {
	if err := unix.Lsetxattr(path, name, value, 0); err != nil {
		return &fs.PathError{Op: "setxattr " + name, Path: path, Err: err}
	}
	return nil
}

// fileMode converts the mode of stat(2).
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for _, b := range []struct {
		bit  uint32
		mode fs.FileMode
	}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}} {
		if m&b.bit != 0 {
			mode |= b.mode
		}
	}
	return mode
}
