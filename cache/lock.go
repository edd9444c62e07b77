package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
)

// Once returns the image of key, calling build if there is none. Among all
// callers in all processes one builds and the others wait; if the builder
// fails or dies, the next caller tries itself.
func (c *Cache) Once(ctx context.Context, key ore.Key, build func(context.Context) (image.Manifest, error)) (image.Manifest, error) {
	m, err := c.Find(ctx, key)
	if err == nil || !errors.Is(err, image.ErrMissing) {
		return m, err
	}
	unlock, err := lock(ctx, filepath.Join(c.dir, "locks", string(key)))
	if err != nil {
		return m, fmt.Errorf("build image %s: %w", key.Short(), err)
	}
	defer unlock()
	if m, err = c.Find(ctx, key); err == nil || !errors.Is(err, image.ErrMissing) {
		return m, err
	}
	return build(ctx)
}

// lock takes the exclusive lock of the file at path, waiting for it until ctx ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	got := make(chan error, 1)
	go func() { got <- flock(f, unix.LOCK_EX) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, err
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		// The goroutine cannot be called back from flock(2): it ends when the
		// lock is free, and gives it back.
		go func() {
			<-got
			f.Close()
		}()
		return nil, ctx.Err()
	}
}

// flock locks f, which must stay open meanwhile.
func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if lockErr = unix.Flock(int(fd), how); lockErr != unix.EINTR {
				return
			}
		}
	})
	return errors.Join(err, lockErr)
}
