package cache

import (
	"context"
	"database/sql"

	"ore"
	"ore/cache/kind"
)

// maxNear is how many neighbours are noted for an image: the best one counts,
// the others stand in when it is evicted.
const maxNear = 6

// meet notes from which images that of env could be made with little work, and
// which from it: what is easily made again is worth less.
func (c *Cache) meet(ctx context.Context, env ore.Environment) error {
	if !kind.Plain(env) {
		return nil
	}
	found, err := c.candidates(ctx, env, maxNear+1)
	if err != nil {
		return err
	}
	key, least := env.Key(), 1.0
	all := c.work(env.Packages)
	return c.write(ctx, func(tx *sql.Tx) error {
		for _, f := range found {
			if f.Exact || f.Key == key || !f.SameFiles {
				continue
			}
			extra, missing := c.work(f.Extra), c.work(f.Missing)
			remove := c.config.Rank.Extra
			there := share(missing+remove*float64(len(f.Extra)), all)
			back := share(extra+remove*float64(len(f.Missing)), all-missing+extra)
			least = min(least, there)
			if err := near(ctx, tx, key, f.Key, there); err != nil {
				return err
			}
			if err := near(ctx, tx, f.Key, key, back); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `UPDATE images SET share = ? WHERE key = ?`, least, string(key))
		return err
	})
}

// work is what installing packages costs by the cache's rank.
func (c *Cache) work(packages []ore.Package) float64 {
	var sum float64
	for _, p := range packages {
		sum += c.config.Rank.Package + c.config.Rank.Byte*float64(p.Size)
	}
	return sum
}

func share(part, whole float64) float64 {
	if whole <= 0 {
		return 1
	}
	return min(1, part/whole)
}

// near notes what remains to be done for key from other, unless one of them went.
func near(ctx context.Context, tx *sql.Tx, key, other ore.Key, share float64) error {
	_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO near SELECT a.key, b.key, ? FROM images a, images b WHERE a.key = ? AND b.key = ?`,
		share, string(key), string(other))
	return err
}
