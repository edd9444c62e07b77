package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ore"
	"ore/cache/evict"
	"ore/cache/flight"
)

// evict removes images so that lack bytes become free, or none if that cannot be.
func (c *Cache) evict(ctx context.Context, lack int64, why string) error {
	fates, ok, err := c.fates(ctx, lack)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoSpace, why)
	}
	_, err = c.carryOut(ctx, fates)
	return err
}

// Fate is an image, what keeping it is worth, and whether it goes.
type Fate struct {
	Entry Entry
	evict.Verdict
	Age   time.Duration // since it was used last
	InUse bool
}

// Fates says which images would go, the first to go first, so that the layers
// of the rest take at most quota bytes, and of each why. Those that stay follow.
func (c *Cache) Fates(ctx context.Context, quota int64) ([]Fate, error) {
	used, err := c.Used(ctx)
	if err != nil {
		return nil, fmt.Errorf("value images: %w", err)
	}
	fates, _, err := c.fates(ctx, used-quota)
	if err != nil {
		return nil, fmt.Errorf("value images: %w", err)
	}
	return fates, nil
}

// Prune removes the least valuable images until the layers of the rest take at
// most quota bytes or none is left that may go, and returns the bytes that came
// free.
func (c *Cache) Prune(ctx context.Context, quota int64) (freed int64, err error) {
	space, err := flight.Wait(ctx, filepath.Join(c.dir, "locks", "space"), nil)
	if err != nil {
		return 0, fmt.Errorf("prune images: %w", err)
	}
	defer space.Close()
	fates, err := c.Fates(ctx, quota)
	if err != nil {
		return 0, err
	}
	freed, err = c.carryOut(ctx, fates)
	if err != nil {
		return freed, fmt.Errorf("prune images: %w", err)
	}
	return freed, nil
}

// carryOut removes the images that are to go. Layers that somebody took into use
// meanwhile are deleted when they are free.
func (c *Cache) carryOut(ctx context.Context, fates []Fate) (freed int64, err error) {
	var gone []Entry
	for _, f := range fates {
		if f.Evict {
			gone = append(gone, f.Entry)
		}
	}
	before, err := c.Used(ctx)
	if err != nil {
		return 0, err
	}
	if err := c.dropAll(ctx, gone); err != nil {
		return 0, err
	}
	after, err := c.Used(ctx)
	return before - after, err
}

// dropAll takes images off the list, unless others have their keys by now, and
// deletes what only they had.
func (c *Cache) dropAll(ctx context.Context, gone []Entry) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		for _, e := range gone {
			var d string
			err := tx.QueryRowContext(ctx, `SELECT manifest FROM images WHERE key = ?`, string(e.Key)).Scan(&d)
			if errors.Is(err, sql.ErrNoRows) || err == nil && d != string(e.Manifest) {
				continue
			}
			if err != nil {
				return err
			}
			if err := drop(ctx, tx, e.Key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = c.bury(ctx)
	return err
}

// fates values all images, and chooses so that free bytes come free.
func (c *Cache) fates(ctx context.Context, free int64) ([]Fate, bool, error) {
	all, err := c.List(ctx)
	if err != nil {
		return nil, false, err
	}
	images, now, err := c.evictable(ctx, all)
	if err != nil {
		return nil, false, err
	}
	verdicts, ok := evict.Choose(images, free, now)
	fates := make([]Fate, len(verdicts))
	for i, v := range verdicts {
		e := all[v.Image]
		fates[i] = Fate{Entry: e, Verdict: v, Age: max(0, c.config.Now().Sub(e.Used)), InUse: images[v.Image].Held}
	}
	return fates, ok, nil
}

// evictable returns what package evict wants to know of all, and the number of
// the latest request.
func (c *Cache) evictable(ctx context.Context, all []Entry) ([]evict.Image, int64, error) {
	var now int64
	if err := c.db.QueryRowContext(ctx, `SELECT COALESCE(MAX(id), 0) FROM requests`).Scan(&now); err != nil {
		return nil, 0, err
	}
	images, at := make([]evict.Image, len(all)), map[ore.Key]int{}
	for i, e := range all {
		at[e.Key] = i
		// One that nobody noted a request for was made for one just now.
		images[i] = evict.Image{Seconds: e.BuildTime.Seconds(), Pinned: e.Pinned, Use: evict.Use{}.Asked(now)}
	}
	layers, err := c.addLayers(ctx, images, at)
	if err != nil {
		return nil, 0, err
	}
	for i, m := range images {
		held := len(m.Layers) > 0
		for _, l := range m.Layers {
			held = held && layers[l.ID]
		}
		images[i].Held = held
	}
	return images, now, errors.Join(c.addNear(ctx, images, at), c.addUse(ctx, images, at))
}

// addLayers adds the layers to images, and returns which of them somebody holds.
func (c *Cache) addLayers(ctx context.Context, images []evict.Image, at map[ore.Key]int) (map[string]bool, error) {
	held := map[string]bool{}
	err := c.each(ctx, `SELECT key, digest, size FROM layers ORDER BY key, place`, func(scan func(...any) error) error {
		var key ore.Key
		var l evict.Layer
		if err := scan(&key, &l.ID, &l.Size); err != nil {
			return err
		}
		if i, ok := at[key]; ok {
			images[i].Layers = append(images[i].Layers, l)
			held[l.ID] = false
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id := range held {
		if held[id], err = c.Held(ore.Digest(id)); err != nil {
			return nil, err
		}
	}
	return held, nil
}

func (c *Cache) addNear(ctx context.Context, images []evict.Image, at map[ore.Key]int) error {
	err := c.each(ctx, `SELECT key, other, share FROM near`, func(scan func(...any) error) error {
		var key, other ore.Key
		var share float64
		if err := scan(&key, &other, &share); err != nil {
			return err
		}
		i, ok := at[key]
		j, there := at[other]
		if ok && there {
			images[i].Near = append(images[i].Near, evict.Near{Image: j, Share: share})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(ctx, `SELECT key, share FROM images`, func(scan func(...any) error) error {
		var key ore.Key
		var share float64
		if err := scan(&key, &share); err != nil {
			return err
		}
		if i, ok := at[key]; ok {
			images[i].Share = share
		}
		return nil
	})
}

func (c *Cache) addUse(ctx context.Context, images []evict.Image, at map[ore.Key]int) error {
	return c.each(ctx, `SELECT key, last, fast, slow, assists FROM popularity`, func(scan func(...any) error) error {
		var key ore.Key
		var u evict.Use
		if err := scan(&key, &u.Last, &u.Fast, &u.Slow, &u.Assists); err != nil {
			return err
		}
		if i, ok := at[key]; ok {
			images[i].Use = u
		}
		return nil
	})
}

// each calls f for each row that query gives.
func (c *Cache) each(ctx context.Context, query string, f func(scan func(...any) error) error) error {
	rows, err := c.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
