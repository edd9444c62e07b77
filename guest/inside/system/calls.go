package system

import (
	"errors"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a start are raw ones, of which Go's scheduler is not
// told: there is nothing else that it could run meanwhile. Under User Mode
// Linux, where each call takes longer than the scheduler's watchdog sleeps, it
// would otherwise be woken for each to take the processor away. For the same
// reason nothing is asked here that the call after it tells: a call costs as
// much as some ten thousand instructions.

// done is what a raw system call came to.
func done(n uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// onPath makes a system call whose first argument is a path.
func onPath(number uintptr, path string, a, b uintptr) (int, error) {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	n, _, errno := unix.RawSyscall(number, uintptr(unsafe.Pointer(p)), a, b)
	return done(n, errno)
}

func mkdir(path string, mode uintptr) error {
	_, err := onPath(unix.SYS_MKDIR, path, mode, 0)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

func unlink(path string) error {
	_, err := onPath(unix.SYS_UNLINK, path, 0, 0)
	return err
}

func symlink(target, path string) error {
	t, err := unix.BytePtrFromString(target)
	if err != nil {
		return err
	}
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SYMLINK, uintptr(unsafe.Pointer(t)), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 && errno != unix.EEXIST {
		return errno
	}
	return nil
}

func exists(path string) bool {
	_, err := onPath(unix.SYS_ACCESS, path, unix.F_OK, 0)
	return err == nil
}

func open(path string, flags, mode uintptr) (int, error) {
	return onPath(unix.SYS_OPEN, path, flags|unix.O_CLOEXEC, mode)
}

func closeFD(fd int) { unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

// read fills b as far as one call does.
func read(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return done(n, errno)
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	fd, err := open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer closeFD(fd)
	b := make([]byte, 0, 16<<10)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := read(fd, b[len(b):cap(b)])
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		b = b[:len(b)+n]
		if n == 0 || len(b) < cap(b) { // a regular file gives all that it has
			return b, nil
		}
	}
}

// writeFile writes a small file in one call, as files of the kernel want it,
// without following a link.
func writeFile(path, text string) error {
	fd, err := open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer closeFD(fd)
	if text == "" {
		return nil
	}
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.StringData(text))), uintptr(len(text)))
	wrote, err := done(n, errno)
	if err == nil && wrote < len(text) {
		err = unix.ENOSPC
	}
	if err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
