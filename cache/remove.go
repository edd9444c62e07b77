package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"ore"
	"ore/image"
)

// ErrInUse is returned for an image that cannot be removed since it is held.
var ErrInUse = errors.New("a running job has it")

// Forget removes the image of key from the list and deletes the blobs that no
// other image has. It refuses an image that somebody holds.
func (c *Cache) Forget(ctx context.Context, key ore.Key) (freed int64, err error) {
	m, _, err := c.find(ctx, key)
	if errors.Is(err, image.ErrMissing) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	held, err := c.held(m)
	if err == nil && held {
		err = fmt.Errorf("%w: end the job first (ore jobs ls)", ErrInUse)
	}
	if err != nil {
		return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
	}
	if err := c.write(ctx, func(tx *sql.Tx) error { return drop(ctx, tx, key) }); err != nil {
		return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
	}
	gone, err := c.bury(ctx)
	for _, l := range m.Layers {
		freed += gone[l.Digest]
	}
	return freed, err
}

// held says whether somebody holds m. A job holds all layers of its image; one
// of which only some are held shares them with an image that is in use.
func (c *Cache) held(m image.Manifest) (bool, error) {
	for _, l := range m.Layers {
		if held, err := c.Held(l.Digest); err != nil || !held {
			return false, err
		}
	}
	return len(m.Layers) > 0, nil
}

// bury deletes the doomed blobs that no listed image has and nobody holds, and
// returns their sizes. Those that somebody holds stay doomed. It deletes within
// a transaction that writes: whoever registers an image at the same time either
// comes before, and its blobs stay, or after, and sees that they are gone.
func (c *Cache) bury(ctx context.Context) (map[ore.Digest]int64, error) {
	var n int
	if err := c.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM doomed)`).Scan(&n); err != nil || n == 0 {
		return nil, err
	}
	gone := map[ore.Digest]int64{}
	err := c.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM doomed WHERE digest IN (SELECT digest FROM layers)
			OR digest IN (SELECT manifest FROM images)`); err != nil {
			return err
		}
		all, err := digests(ctx, tx, `SELECT digest FROM doomed`)
		if err != nil {
			return err
		}
		for _, d := range all {
			size, _ := c.size(d) // 0 for one that is gone already
			done, err := c.RemoveUnheld(d)
			if err != nil {
				return err
			}
			if !done {
				continue // deleted when it is free
			}
			gone[d] += size // 0 the second time
			for _, q := range []string{`DELETE FROM doomed WHERE digest = ?`, `DELETE FROM origins WHERE digest = ?`} {
				if _, err := tx.ExecContext(ctx, q, string(d)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return gone, fmt.Errorf("delete blobs: %w", err)
	}
	return gone, nil
}

func (c *Cache) size(d ore.Digest) (int64, error) {
	p, err := c.Path(d)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(p)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func digests(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]ore.Digest, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []ore.Digest
	for rows.Next() {
		var d ore.Digest
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, rows.Err()
}
