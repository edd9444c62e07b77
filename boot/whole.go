package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// whole makes the file at path with write, unless it is there. The file has no
// name until it is complete and on the disk, so a process that is killed leaves
// nothing behind; of two that make the same file at once the first one's stays.
func whole(path string, write func(*os.File) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return named(path, write)
	}
	if err != nil {
		return &fs.PathError{Op: "create in", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// linkat(2): the way to name such a file without privilege.
	err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("link %s: %w", path, err)
	}
	return nil
}

// named is whole for file systems that know no files without a name (NFS). A
// killed process leaves one temporary file, which the next one takes over.
func named(path string, write func(*os.File) error) error {
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	if _, err := os.Stat(path); err == nil {
		return nil // made while this one waited
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
