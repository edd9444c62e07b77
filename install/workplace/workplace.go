// Package workplace gives each build a folder of its own, build-*, and removes
// those of builds whose process is gone: the file build-*.lock beside each is
// locked (flock(2)) for as long as its build lives.
package workplace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore/install/sandbox"
)

// Place is the folder of one build. Whoever holds the lock owns it.
type Place struct {
	Dir  string
	lock *os.File
}

// Open makes the folder of a build in parent, and removes those of builds that
// died.
func Open(ctx context.Context, parent string) (*Place, error) {
	if err := sweep(ctx, parent); err != nil {
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
		w := &Place{Dir: strings.TrimSuffix(name, ".lock"), lock: lock}
		if err := os.Mkdir(w.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make work folder: %w", errors.Join(err, lock.Close()))
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
// next build's sweep.
func (w *Place) Remove() {
	if err := sandbox.Remove(context.Background(), w.Dir); err == nil {
		os.Remove(w.lock.Name())
	}
	w.lock.Close()
}

// sweep removes the folders of builds whose process is gone: their lock is free.
func sweep(ctx context.Context, parent string) error {
	locks, err := filepath.Glob(filepath.Join(parent, "build-*.lock"))
	if err != nil {
		return fmt.Errorf("sweep builds: %w", err)
	}
	for _, name := range locks {
		lock, err := tryLock(name)
		if err != nil {
			return fmt.Errorf("sweep builds: %w", err)
		}
		if lock == nil {
			continue
		}
		dir := name[:len(name)-len(".lock")]
		err = sandbox.Remove(ctx, dir)
		if err == nil {
			err = os.Remove(name)
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return fmt.Errorf("sweep builds: %w", err)
		}
	}
	return nil
}
