package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"ore"
)

// Hold keeps the layers of m from being removed until release is called or the
// process ends, and makes sure that their bytes match. Layers that are gone are
// an error matching [ErrMissing].
func (s *Store) Hold(ctx context.Context, m Manifest) (release func(), err error) {
	var held []*os.File
	release = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for _, l := range m.Layers {
		f, err := s.hold(l.Digest)
		if err == nil {
			held = append(held, f)
			_, err = s.Verified(ctx, l.Digest)
		}
		if err != nil {
			release()
			return nil, fmt.Errorf("hold layer: %w", err)
		}
	}
	return release, nil
}

func (s *Store) hold(d ore.Digest) (*os.File, error) {
	p, err := s.Path(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), removed(err))
	}
	// Only Held and RemoveUnheld lock a blob against this, and for no longer
	// than a system call takes: so this waits.
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_SH); err != unix.EINTR {
			break
		}
	}
	if err == nil && !sameFile(f, p) {
		err = ErrMissing // it was removed between opening and locking
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	return f, nil
}

func sameFile(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(mine, named)
}

// RemoveUnheld deletes blob d unless somebody holds it, and says whether it is
// gone. Whoever begins to hold it at the same time finds it whole or missing.
func (s *Store) RemoveUnheld(d ore.Digest) (gone bool, err error) {
	f, err := os.Open(s.blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return true, s.Remove(d)
	}
	if err != nil {
		return false, fmt.Errorf("remove %s: %w", d.Short(), err)
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove %s: %w", d.Short(), err)
	}
	return true, s.Remove(d)
}

// Held says whether somebody holds blob d.
func (s *Store) Held(d ore.Digest) (bool, error) {
	f, err := os.Open(s.blob(d))
	if err != nil {
		return false, nil // nobody can hold what is not there
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
