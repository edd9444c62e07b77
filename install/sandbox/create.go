package sandbox

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A file that a process makes belongs to the process's user and group, or to
// the group of a set-group-ID folder that it is made in (inode(7)). Where both
// are root's, as nearly always, the kernel does it alone; otherwise the
// supervisor makes the file and its record in the caller's place.

// heir returns what a new file at t is to be recorded as, or errPass if the
// kernel can make it.
func (s *supervisor) heir(c *call, t target) (record, error) {
	rec := plain()
	if s.changed {
		who, err := identity(c)
		if err != nil {
			return rec, err
		}
		rec.uid, rec.gid = who.uid[effective], who.gid[effective]
	}
	folder, _ := splitPath(t.path)
	var st unix.Stat_t
	if err := unix.Stat(folder, &st); err != nil {
		return rec, errPass
	}
	if st.Mode&unix.S_ISGID != 0 {
		of, _, err := s.records.load(target{path: folder, follow: true})
		if err != nil {
			return rec, err
		}
		rec.gid = of.gid
	}
	if rec == plain() {
		return rec, errPass
	}
	return rec, nil
}

// born records a file that was just made at t, and takes it away again where
// that is not possible.
func (s *supervisor) born(t target, rec record) error {
	t.follow = false
	err := s.records.store(t, rec)
	if err != nil {
		os.Remove(t.path)
	}
	return err
}

// opening is what open, openat, openat2 and creat say.
type opening struct {
	place place
	flags uint64
	mode  uint64
}

func (s *supervisor) readOpening(c *call) (opening, error) {
	o := opening{place: place{folder: cwd, address: c.args[0]}}
	switch c.number {
	case unix.SYS_CREAT:
		o.flags, o.mode = unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, c.args[1]
	case unix.SYS_OPEN:
		o.flags, o.mode = c.args[1], c.args[2]
	case unix.SYS_OPENAT:
		o.place = place{folder: c.args[0], address: c.args[1]}
		o.flags, o.mode = c.args[2], c.args[3]
	case unix.SYS_OPENAT2:
		var how unix.OpenHow
		if c.args[3] < uint64(unsafe.Sizeof(how)) {
			return o, errPass
		}
		n, err := peek(c, c.args[2], unsafe.Slice((*byte)(unsafe.Pointer(&how)), unsafe.Sizeof(how)))
		if err != nil || n != int(unsafe.Sizeof(how)) || how.Resolve != 0 {
			return o, errPass
		}
		o.place = place{folder: c.args[0], address: c.args[1]}
		o.flags, o.mode = how.Flags, how.Mode
	}
	if o.flags&unix.O_CREAT == 0 {
		return o, errPass
	}
	return o, nil
}

// open makes a file that is not there yet, and gives the caller a descriptor.
func (s *supervisor) open(c *call) (int64, error) {
	o, err := s.readOpening(c)
	if err != nil {
		return 0, err
	}
	t, err := s.find(c, o.place)
	if err != nil {
		return 0, errPass
	}
	rec, err := s.heir(c, t)
	if err != nil {
		return 0, err
	}
	umask, err := s.umask(c)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Open(t.path, int(o.flags)|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NOCTTY, uint32(o.mode)&0o7777&^umask)
	if err != nil {
		return 0, errPass // it exists, or the kernel says what is wrong
	}
	defer unix.Close(fd)
	if err := s.born(t, rec); err != nil {
		return 0, err
	}
	return s.give(c, fd, uint32(o.flags)&unix.O_CLOEXEC)
}

// give adds a descriptor of ours to the caller's: struct seccomp_notif_addfd.
func (s *supervisor) give(c *call, fd int, flags uint32) (int64, error) {
	add := struct {
		id                               uint64
		flags, source, target, fileFlags uint32
	}{id: c.id, source: uint32(fd), fileFlags: flags}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), notifyAddFile, uintptr(unsafe.Pointer(&add)))
	if errno != 0 {
		return 0, errno
	}
	return int64(n), nil
}

func (s *supervisor) mkdir(c *call) (int64, error) {
	p, mode := place{folder: cwd, address: c.args[0]}, c.args[1]
	if c.number == unix.SYS_MKDIRAT {
		p, mode = place{folder: c.args[0], address: c.args[1]}, c.args[2]
	}
	return s.create(c, p, func(path string, umask uint32) error {
		return unix.Mkdir(path, uint32(mode)&0o7777&^umask)
	})
}

func (s *supervisor) symlink(c *call) (int64, error) {
	p := place{folder: cwd, address: c.args[1]}
	if c.number == unix.SYS_SYMLINKAT {
		p = place{folder: c.args[1], address: c.args[2]}
	}
	return s.create(c, p, func(path string, _ uint32) error {
		to, err := s.readText(c, c.args[0])
		if err != nil {
			return err
		}
		return unix.Symlink(to, path)
	})
}

// mknod makes what stands in for a device, or another special file.
func (s *supervisor) mknod(c *call) (int64, error) {
	p, mode, device := place{folder: cwd, address: c.args[0]}, uint32(c.args[1]), c.args[2]
	if c.number == unix.SYS_MKNODAT {
		p, mode, device = place{folder: c.args[0], address: c.args[1]}, uint32(c.args[2]), c.args[3]
	}
	if kind := mode & unix.S_IFMT; kind != unix.S_IFCHR && kind != unix.S_IFBLK {
		return s.create(c, p, func(path string, umask uint32) error {
			return unix.Mknod(path, mode&^umask, 0)
		})
	}
	t, err := s.find(c, p)
	if err != nil {
		return 0, err
	}
	rec := ownerOf(s.tier)
	if s.tier == Single {
		if rec, err = s.heir(c, t); err != nil && err != errPass {
			return 0, err
		}
	}
	umask, err := s.umask(c)
	if err != nil {
		return 0, err
	}
	return 0, s.records.standIn(t.path, mode&^umask, rec, device)
}

// create lets do make a file in the caller's place.
func (s *supervisor) create(c *call, p place, do func(path string, umask uint32) error) (int64, error) {
	t, err := s.find(c, p)
	if err != nil {
		return 0, errPass
	}
	rec, err := s.heir(c, t)
	if err != nil {
		return 0, err
	}
	umask, err := s.umask(c)
	if err != nil {
		return 0, err
	}
	if err := do(t.path, umask); err != nil {
		return 0, err
	}
	return 0, s.born(t, rec)
}
