package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image/chunk"
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

// Adopt makes the file at path, which nobody writes to any more, a blob, and returns
// what it is. It is moved where it lies in the store's file system, else copied. The
// root of its chunk list is found by the same reading.
func (s *Store) Adopt(ctx context.Context, path string) (ore.Digest, int64, error) {
	d, n, err := s.adopt(ctx, path)
	if errors.Is(err, unix.EXDEV) {
		return s.Put(ctx, func(f *os.File) error {
			in, err := os.Open(path)
			if err != nil {
				return err
			}
			defer in.Close()
			_, err = io.Copy(f, in)
			return err
		})
	}
	if err != nil {
		return "", 0, fmt.Errorf("store %s: %w", path, Full(err))
	}
	return d, n, nil
}

func (s *Store) adopt(ctx context.Context, path string) (ore.Digest, int64, error) {
	f, err := s.temporary()
	if err != nil {
		return "", 0, err
	}
	name := f.Name()
	defer os.Remove(name)
	f.Close()
	moved, err := s.moveLocked(path, name)
	if err != nil {
		return "", 0, err
	}
	defer moved.Close()
	info, err := moved.Stat()
	if err != nil {
		return "", 0, err
	}
	if info.Size() > maxRooted {
		d, n, err := hashFile(moved)
		if err == nil {
			err = s.keep(moved, d)
		}
		return d, n, err
	}
	list, err := chunk.Make(ctx, moved, info.Size())
	if err != nil {
		return "", 0, err
	}
	if err := s.keep(moved, list.Blob); err != nil {
		return "", 0, err
	}
	s.keepNote(s.stamp(list.Blob)+rootSuffix, string(list.Root()))
	return list.Blob, info.Size(), nil
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
