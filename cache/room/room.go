// Package room is what a cache does about the disk that it lies on: it counts
// what others have reserved there, and has some bytes spare, so that images can be
// listed and removed also when not one is free.
package room

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"ore/cache/flight"
)

// Free returns what an ordinary process may still write below dir.
func Free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// Reservation is space that nobody else will be given. It ends with Release, or
// with its process. What is written under it still counts until then, so that
// it is released when the image is registered.
type Reservation struct {
	file *os.File
}

// Reserve notes in dir that bytes will be written.
func Reserve(dir string, bytes int64) (*Reservation, error) {
	f, err := os.CreateTemp(dir, "space-*")
	if err != nil {
		return nil, err
	}
	err = flight.Flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = f.WriteString(strconv.FormatInt(bytes, 10))
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	return &Reservation{f}, nil
}

// Release gives the space back. It may be called twice.
func (r *Reservation) Release() {
	if r.file == nil {
		return
	}
	_ = os.Remove(r.file.Name()) // one that remains is removed by the next who reserves
	r.file.Close()
	r.file = nil
}

// Reserved adds up the reservations in dir of processes that live, and removes
// the others.
func Reserved(dir string) (int64, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue // released meanwhile
		}
		switch err := flight.Flock(f, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			_ = os.Remove(path) // its process died; if it stays, the next one removes it
		default:
			if b, err := os.ReadFile(path); err == nil {
				n, _ := strconv.ParseInt(string(b), 10, 64)
				sum += max(0, n)
			}
		}
		f.Close()
	}
	return sum, nil
}
