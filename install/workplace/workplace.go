// Package workplace gives each build a folder of its own, build-*, and removes
// those of builds whose process is gone: the file build-*.lock beside each is
// locked (flock(2)) for as long as its build lives. A janitor waits beside each
// build and removes both at once if the build is killed; where it is killed, too,
// whoever comes next sweeps.
package workplace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore/install/sandbox"
	"ore/namespace/janitor"
)

// Place is the folder of one build. Whoever holds the lock owns it.
type Place struct {
	Dir   string
	Swept int64 // bytes that dead builds had left, and Open removed
	lock  *os.File
	care  *janitor.Janitor
}

// Open makes the folder of a build in parent, and removes those of builds that
// died.
func Open(ctx context.Context, parent string) (*Place, error) {
	swept, err := Sweep(ctx, parent)
	if err != nil {
		return nil, err
	}
	for {
		f, err := os.CreateTemp(parent, "build-*.lock")
		if err != nil {
			return nil, fmt.Errorf("make work folder: %w", err)
		}
		name := f.Name()
		f.Close() // it is empty
		lock, err := tryLock(name)
		if err != nil {
			return nil, fmt.Errorf("make work folder: %w", err)
		}
		if lock == nil {
			continue // another build's sweep was faster and removes it
		}
		w := &Place{Dir: strings.TrimSuffix(name, ".lock"), Swept: swept, lock: lock}
		if err = os.Mkdir(w.Dir, 0o755); err == nil {
			w.care, err = janitor.Watch(janitor.Folder{Path: w.Dir, Lock: name, Environ: sandbox.Clearing(w.Dir)})
		}
		if err != nil {
			return nil, fmt.Errorf("make work folder: %w", errors.Join(err, os.Remove(name), lock.Close()))
		}
		return w, nil
	}
}

// tryLock takes the lock file at path; it returns nil if somebody else has it or
// has just removed it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	here, err := os.Stat(path)
	mine, err2 := f.Stat()
	if err != nil || err2 != nil || !os.SameFile(here, mine) {
		return nil, f.Close() // whoever had it has just removed it
	}
	return f, nil
}

// Remove deletes the folder and its lock. What cannot be deleted is left to the
// next sweep.
func (w *Place) Remove() {
	if err := sandbox.Remove(context.Background(), w.Dir); err == nil {
		os.Remove(w.lock.Name())
	}
	w.lock.Close()
	_ = w.care.Dismiss() // an error says that it has ended, which is all that is asked
}

// Sweep removes the folders of builds whose process is gone: their lock is free.
// It returns how many bytes that gave.
func Sweep(ctx context.Context, parent string) (freed int64, err error) {
	locks, err := filepath.Glob(filepath.Join(parent, "build-*.lock"))
	if err != nil {
		return 0, fmt.Errorf("sweep builds: %w", err)
	}
	for _, name := range locks {
		lock, err := tryLock(name)
		if err != nil {
			return freed, fmt.Errorf("sweep builds: %w", err)
		}
		if lock == nil {
			continue
		}
		dir := strings.TrimSuffix(name, ".lock")
		bytes := size(dir)
		if err = sandbox.Remove(ctx, dir); err == nil {
			freed += bytes
			if err = os.Remove(name); errors.Is(err, fs.ErrNotExist) {
				err = nil // the build's janitor was there at the same time
			}
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return freed, fmt.Errorf("sweep builds: %w", err)
		}
	}
	return freed, nil
}

// size counts the bytes of the files in dir into which this user can look.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // closed to this user, or gone meanwhile
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}
