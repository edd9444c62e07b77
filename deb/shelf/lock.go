package shelf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiter looks whether the builder it waits for is
// done: flock(2) cannot be given up when a context ends, so it is not waited in.
const lockPoll = 20 * time.Millisecond

// lockName is a file name that stands for any string.
func lockName(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// lock makes this caller the only one who works on the named thing. The lock
// belongs to an open file, so it ends with the process that holds it.
func (s *Shelf) lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, locksDir, lockName(name)), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// sweep removes what is under new/ and belongs to no living builder.
func (s *Shelf) sweep() error {
	left, err := os.ReadDir(filepath.Join(s.dir, newDir))
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := s.sweepOne(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shelf) sweepOne(name string) error {
	f, err := os.OpenFile(filepath.Join(s.dir, locksDir, name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // its builder lives
	}
	return os.RemoveAll(filepath.Join(s.dir, newDir, name))
}
