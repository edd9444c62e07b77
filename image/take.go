package image

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ore"
)

// Take makes the file at path, which must lie in the store's file system and which
// nobody writes to any more, blob d. It is moved and not copied: what came over a
// network is large, and copying it would cost as much as receiving it did. If its
// bytes are others it is removed, and the error matches ErrRotten; after any other
// error it is where it was.
func (s *Store) Take(ctx context.Context, d ore.Digest, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.take(d, path); err != nil {
		return fmt.Errorf("store %s: %w", d.Short(), Full(err))
	}
	return nil
}

func (s *Store) take(d ore.Digest, path string) error {
	f, err := s.temporary()
	if err != nil {
		return err
	}
	name := f.Name()
	defer os.Remove(name)
	f.Close()
	moved, err := s.moveLocked(path, name)
	if err != nil {
		return err
	}
	defer moved.Close()
	got, _, err := hashFile(moved)
	if err == nil && got != d {
		return fmt.Errorf("received %s: %w", got.Short(), ErrRotten)
	}
	if err == nil {
		err = s.keep(moved, d)
	}
	if err != nil {
		return errors.Join(err, os.Rename(name, path))
	}
	return nil
}

// moveLocked moves the file at path to name, with the lock of an unfinished file
// before Sweep can see it there.
func (s *Store) moveLocked(path, name string) (*os.File, error) {
	gate, err := lockFolder(s.partial(), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	if err := os.Rename(path, name); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}
