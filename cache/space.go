package cache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"ore/cache/flight"
	"ore/cache/room"
)

// keepFree is how much of the disk is never reserved: the database, the host's
// own logs and whoever else writes there go on.
const keepFree = 256 << 20

// ErrNoSpace is returned when not enough can be evicted.
var ErrNoSpace = errors.New("not enough space")

// Reservation is space that nobody else will be given.
type Reservation = room.Reservation

// Reserve makes sure that bytes can be written for what (a few words for
// people), by evicting the least valuable images if need be. If that does not
// help, nothing is evicted and the error, which matches ErrNoSpace, says why.
func (c *Cache) Reserve(ctx context.Context, bytes int64, what string) (*Reservation, error) {
	return c.reserve(ctx, bytes, what, c.evict)
}

// Spare is Reserve for what may as well be left undone: it evicts nothing.
func (c *Cache) Spare(ctx context.Context, bytes int64, what string) (*Reservation, error) {
	return c.reserve(ctx, bytes, what, func(_ context.Context, _ int64, why string) error {
		return fmt.Errorf("%w: %s", ErrNoSpace, why)
	})
}

// reserve has evict make room for what lacks; its last argument is what to say where
// that cannot be.
func (c *Cache) reserve(ctx context.Context, bytes int64, what string, evict func(context.Context, int64, string) error) (*Reservation, error) {
	r, err := c.place(ctx, max(0, bytes), evict)
	if err != nil {
		return nil, fmt.Errorf("reserve %s for %s: %w", mib(bytes), what, err)
	}
	return r, nil
}

func (c *Cache) place(ctx context.Context, bytes int64, evict func(context.Context, int64, string) error) (*Reservation, error) {
	space, err := flight.Wait(ctx, filepath.Join(c.dir, "locks", "space"), nil)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	lack, why, err := c.lack(ctx, bytes)
	if err == nil && lack > 0 {
		err = evict(ctx, lack, why)
	}
	if err != nil {
		return nil, err
	}
	return room.Reserve(c.reservations(), bytes)
}

func (c *Cache) reservations() string { return filepath.Join(c.dir, "reserved") }

// lack returns how many bytes must go so that bytes can come, and what to do
// where they cannot.
func (c *Cache) lack(ctx context.Context, bytes int64) (lack int64, why string, err error) {
	reserved, err := room.Reserved(c.reservations())
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

// mib writes a number of bytes for people.
func mib(n int64) string {
	s := strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + " MiB"
}
