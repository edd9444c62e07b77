// Package keep holds a small value in a file that survives the death of its
// writer and of its machine at any moment: a reader finds the old value or the
// new one, never a part. The new one is written beside it, brought to the disk
// (fsync(2)), and renamed; then the folder is brought to the disk as well.
//
// Files are written by one process at a time; [Lock] sees to that where several
// programs use one.
package keep

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxFile is the longest file that is read: some thousand machines, or the
// leases of 65,536 addresses.
const maxFile = 16 << 20

// Store writes v as JSON to path.
func Store(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	if err := replace(path, append(b, '\n')); err != nil {
		return fmt.Errorf("keep %s: %w", path, err)
	}
	return nil
}

func replace(path string, b []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // the file is there; only its name is not known to be on the disk
	}
	defer d.Close()
	return d.Sync()
}

// Load reads path into v. Where there is no file, v stays as it is.
func Load(path string, v any) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > maxFile {
		return fmt.Errorf("read %s: longer than %d octets: it is not what this program wrote: move it away", path, maxFile)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w: it was changed by hand, or by another program: move it away to begin anew", path, err)
	}
	return nil
}

// Sweep removes what writers that were killed left beside path. The caller is
// the only writer.
func Sweep(path string) error {
	left, err := filepath.Glob(path + ".new-*")
	if err != nil {
		return fmt.Errorf("sweep %s: %w", path, err)
	}
	for _, f := range left {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// Lock holds the file at path, made if need be, until unlock is called or the
// process is gone; others wait. With only true it does not wait: ErrHeld.
func Lock(path string, only bool) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %w", err)
	}
	how := unix.LOCK_EX
	if only {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrHeld
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f.Close, nil
}

// ErrHeld is a lock that another process holds.
var ErrHeld = errors.New("another process holds it")
