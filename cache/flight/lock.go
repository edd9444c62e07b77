package flight

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked is returned by Try for a file that somebody has locked.
var ErrLocked = errors.New("locked")

// Try takes the exclusive lock of the file at path, making the file if need
// be. The lock ends when the file is closed or its process ends. Whoever has
// the lock may remove the file.
func Try(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		err = Flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(ErrLocked, f.Close())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if current(f, path) {
			return f, nil
		}
		f.Close() // it was removed between opening and locking: the next one counts
	}
}

// current says whether path still names f.
func current(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(mine, named)
}

// firstPause and lastPause bound how long a waiter sleeps between two looks at
// a lock: the first short enough not to be felt, the last long enough that a
// hundred processes cost nothing.
const (
	firstPause = time.Millisecond
	lastPause  = 50 * time.Millisecond
)

// Wait takes the exclusive lock of the file at path, waiting for it until ctx
// ends. flock(2) itself cannot be called back, so the lock is asked for again
// and again; between two looks, look is called unless it is nil.
func Wait(ctx context.Context, path string, look func()) (*os.File, error) {
	pause := firstPause
	for {
		f, err := Try(path)
		if !errors.Is(err, ErrLocked) {
			return f, err
		}
		if look != nil {
			look()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		pause = min(2*pause, lastPause)
	}
}

// Flock locks f, which must stay open meanwhile, as flock(2) does.
func Flock(f *os.File, how int) error {
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
