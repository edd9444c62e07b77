package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ore/cache/flight"
)

// freeBytes returns what an ordinary process may still write below dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// keepFree is how much of the disk is never reserved: the database, the host's
// own logs and whoever else writes there go on.
const keepFree = 256 << 20

// ErrNoSpace is returned when not enough can be evicted.
var ErrNoSpace = errors.New("not enough space")

// Reservation is space that nobody else will be given. It ends with Release, or
// with its process. What is written under it still counts until then, so that
// it is released when the image is registered.
type Reservation struct {
	file *os.File
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

// Reserve makes sure that bytes can be written for what (a few words for
// people), by evicting the least valuable images if need be. If that does not
// help, nothing is evicted and the error, which matches ErrNoSpace, says why.
func (c *Cache) Reserve(ctx context.Context, bytes int64, what string) (*Reservation, error) {
	r, err := c.reserve(ctx, max(0, bytes))
	if err != nil {
		return nil, fmt.Errorf("reserve %s for %s: %w", mib(bytes), what, err)
	}
	return r, nil
}

func (c *Cache) reserve(ctx context.Context, bytes int64) (*Reservation, error) {
	space, err := flight.Wait(ctx, filepath.Join(c.dir, "locks", "space"), nil)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	lack, why, err := c.lack(ctx, bytes)
	if err != nil {
		return nil, err
	}
	if lack > 0 {
		if err := c.evict(ctx, lack, why); err != nil {
			return nil, err
		}
	}
	f, err := os.CreateTemp(filepath.Join(c.dir, "reserved"), "space-*")
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

// lack returns how many bytes must go so that bytes can come, and what to do
// where they cannot.
func (c *Cache) lack(ctx context.Context, bytes int64) (lack int64, why string, err error) {
	reserved, err := c.reserved()
	if err != nil {
		return 0, "", err
	}
	if c.config.Quota > 0 {
		used, err := c.Used(ctx)
		if err != nil {
			return 0, "", err
		}
		lack = used + reserved + bytes - c.config.Quota
		why = fmt.Sprintf("of the quota of %s, %s are images and %s reserved by others: raise the quota, end jobs or unpin images",
			mib(c.config.Quota), mib(used), mib(reserved))
	}
	free, err := c.config.Capacity(c.dir)
	if err != nil {
		return 0, "", err
	}
	if short := bytes + reserved + keepFree - free; short > lack {
		lack = short
		why = fmt.Sprintf("%s are free on the disk of %s, of which %s are reserved by others and %s kept free: free some, end jobs or unpin images",
			mib(free), c.dir, mib(reserved), mib(keepFree))
	}
	return lack, why, nil
}

// Used returns the bytes of the layers of all images, each counted once.
func (c *Cache) Used(ctx context.Context) (int64, error) {
	var used int64
	err := c.db.QueryRowContext(ctx, `SELECT COALESCE(SUM(size), 0) FROM (SELECT DISTINCT digest, size FROM layers)`).Scan(&used)
	return used, err
}

// reserved adds up the reservations of processes that live, and removes the others.
func (c *Cache) reserved() (int64, error) {
	list, err := os.ReadDir(filepath.Join(c.dir, "reserved"))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, e := range list {
		path := filepath.Join(c.dir, "reserved", e.Name())
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

// mib writes a number of bytes for people.
func mib(n int64) string {
	s := strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + " MiB"
}
