package results

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteWhole writes a file so that it appears complete or not at all, with the
// mode that the umask leaves. It has no name until it is complete, where the file
// system can do that (O_TMPFILE, open(2)): then nothing is left of a write that
// was killed.
func WriteWhole(path string, content []byte) error {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return writeNamed(path, content)
	}
	if err != nil {
		return &fs.PathError{Op: "create", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	source := fmt.Sprintf("/proc/self/fd/%d", fd)
	link := func(name string) error {
		return unix.Linkat(unix.AT_FDCWD, source, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	}
	if err = link(path); errors.Is(err, unix.EEXIST) {
		// No link takes the place of a file: a name is needed for a moment.
		named := newName(dir)
		if err = link(named); err == nil {
			if err = os.Rename(named, path); err != nil {
				err = errors.Join(err, os.Remove(named))
			}
		}
	}
	if errors.Is(err, unix.ENOENT) { // without /proc there is no way from a descriptor to a name
		return writeNamed(path, content)
	}
	return err
}

// writeNamed is WriteWhole by way of a file with a name.
func writeNamed(path string, content []byte) error {
	named := newName(filepath.Dir(path))
	f, err := os.OpenFile(named, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(named, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(named))
	}
	return nil
}

// newName is one that no file in dir has.
func newName(dir string) string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return filepath.Join(dir, ".new-"+hex.EncodeToString(b[:]))
}
