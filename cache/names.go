package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"ore"
	"ore/cache/index"
	"ore/image"
)

// Serving returns the image that serves a wish: the one that was registered for
// it last, or that Replace put in its place. The error matches image.ErrMissing
// if there is none.
func (c *Cache) Serving(ctx context.Context, wish string) (image.Manifest, error) {
	var key ore.Key
	err := c.db.QueryRowContext(ctx, `SELECT key FROM names WHERE name = ?`, wish).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return image.Manifest{}, fmt.Errorf("image for wish %s: %w", wish, image.ErrMissing)
	}
	if err != nil {
		return image.Manifest{}, fmt.Errorf("image for wish %s: %w", wish, err)
	}
	return c.Find(ctx, key)
}

// Replace lets the image of key next serve all wishes that the one of key old
// serves, at once. Both stay listed; old is evicted in its time, and goes on for
// jobs that have it. Its popularity is next's from then on.
func (c *Cache) Replace(ctx context.Context, old, next ore.Key) error {
	if _, err := c.Find(ctx, next); err != nil {
		return fmt.Errorf("replace image %s: %w", old.Short(), err)
	}
	err := c.write(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM images WHERE key = ?`, string(next)).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("image %s: %w", next.Short(), image.ErrMissing)
		}
		if old == next {
			return nil
		}
		for _, q := range []string{
			`UPDATE names SET key = ?1 WHERE key = ?2`,
			`UPDATE images SET pinned = 1 WHERE key = ?1 AND (SELECT pinned FROM images WHERE key = ?2) = 1`,
			`UPDATE images SET pinned = 0 WHERE key = ?2`,
			`INSERT OR REPLACE INTO popularity SELECT ?1, last, fast, slow, assists FROM popularity WHERE key = ?2`,
			`INSERT OR REPLACE INTO popularity VALUES (?2, 0, 0, 0, 0)`, // from now on nobody asks for it
		} {
			if _, err := tx.ExecContext(ctx, q, string(next), string(old)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("replace image %s: %w", old.Short(), err)
	}
	return nil
}

// Pin keeps the image of key from being evicted, or lets it be evicted again.
func (c *Cache) Pin(ctx context.Context, key ore.Key, pinned bool) error {
	done, err := c.db.ExecContext(ctx, `UPDATE images SET pinned = ? WHERE key = ?`, pinned, string(key))
	if err != nil {
		return fmt.Errorf("pin image %s: %w", key.Short(), err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("pin image %s: %w", key.Short(), image.ErrMissing), err)
	}
	return nil
}

// Mark notes for every image which of its packages have a newer version, and
// returns how many images have some. newer returns that version, or "" if there
// is none; it is called once for each package that any image has.
func (c *Cache) Mark(ctx context.Context, newer func(ore.Package) string) (int, error) {
	old, err := c.outdated(ctx, newer)
	if err != nil {
		return 0, fmt.Errorf("mark images: %w", err)
	}
	n := 0
	err = c.write(ctx, func(tx *sql.Tx) error {
		n = 0
		images, err := readImages(ctx, tx, `SELECT seq, kind, packs FROM images`)
		if err != nil {
			return err
		}
		for _, m := range images {
			text := ""
			if list := outdatedOf(m, old); len(list) > 0 {
				text = marshal(list)
				n++
			}
			if _, err := tx.ExecContext(ctx, `UPDATE images SET outdated = ?1 WHERE seq = ?2 AND outdated <> ?1`, text, m.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("mark images: %w", err)
	}
	return n, nil
}

// outdated asks for the newer version of every package.
func (c *Cache) outdated(ctx context.Context, newer func(ore.Package) string) (map[uint32]Outdated, error) {
	tx, err := c.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	packages, err := readPackages(ctx, tx, 0)
	if err := errors.Join(err, tx.Rollback()); err != nil {
		return nil, err
	}
	old := map[uint32]Outdated{}
	for _, p := range packages {
		if v := newer(p.Package); v != "" {
			old[p.ID] = Outdated{Name: p.Name, Version: p.Version, Newer: v}
		}
	}
	return old, nil
}

func outdatedOf(m index.Image, old map[uint32]Outdated) []Outdated {
	var list []Outdated
	for _, id := range m.Set {
		if o, ok := old[id]; ok {
			list = append(list, o)
		}
	}
	return list
}
