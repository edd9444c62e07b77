package bytecode

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// hold makes a file and locks it; closing it frees the lock.
func hold(name string) (*os.File, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
