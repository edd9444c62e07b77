package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// partName begins the names of what is not complete yet, beside the result, so
// that a rename is enough, and what is made has the permissions that the user's
// umask gives.
func partName(path string) string { return "." + filepath.Base(path) + ".part-" }

// place has write write a file, which then is at path as a whole. Until then it
// has no name (open(2), O_TMPFILE), so a process that is killed leaves nothing.
func place(path string, write func(*os.File) error) (err error) {
	fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return placeNamed(path, write) // a file system that has none, such as NFS
	}
	if err != nil {
		return &fs.PathError{Op: "create in", Path: filepath.Dir(path), Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return err
	}
	return link(fd, path)
}

// link gives a file without a name the name path. Where another file has it, it
// goes by way of a name beside, which only a rename can put in its place.
func link(fd int, path string) error {
	// linkat(2): the way to do this without privilege.
	self := "/proc/self/fd/" + strconv.Itoa(fd)
	err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	dir, done, err := partFolder(path)
	if err != nil {
		return err
	}
	part := filepath.Join(dir, "part")
	if err = unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, part, unix.AT_SYMLINK_FOLLOW); err == nil {
		err = os.Rename(part, path)
	}
	return errors.Join(err, done())
}

// placeNamed is place with a name from the beginning.
func placeNamed(path string, write func(*os.File) error) error {
	dir, done, err := partFolder(path)
	if err != nil {
		return err
	}
	part := filepath.Join(dir, "part")
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if err == nil {
		err = errors.Join(write(f), f.Close())
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	return errors.Join(err, done())
}

// partFolder makes a folder beside path for what is not complete, and removes
// those whose makers were killed: who is at work holds a lock on his. done
// removes the folder.
func partFolder(path string) (dir string, done func() error, err error) {
	beside, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	for _, e := range beside {
		if strings.HasPrefix(e.Name(), partName(path)) && e.IsDir() {
			if err := removeStale(filepath.Join(filepath.Dir(path), e.Name())); err != nil {
				return "", nil, err
			}
		}
	}
	if dir, err = os.MkdirTemp(filepath.Dir(path), partName(path)); err != nil {
		return "", nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}

// removeStale removes a folder of which nobody holds the lock.
func removeStale(dir string) error {
	lock, err := lockFolder(dir)
	if err != nil {
		return nil // somebody is at work there, or it is not ours
	}
	return errors.Join(os.RemoveAll(dir), lock.Close())
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}
