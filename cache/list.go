package cache

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ore"
	"ore/image"
)

// Entry is one image as a listing shows it.
type Entry struct {
	Key       ore.Key
	Manifest  ore.Digest
	Tree      ore.Digest
	Suite     string
	Wanted    []string
	Packages  int
	Bytes     int64 // of all its layers
	Own       int64 // of the layers that no other image has
	Made      time.Time
	Used      time.Time
	Uses      int
	BuildTime time.Duration
}

// Value says how much keeping the image is worth: seconds saved for each MiB
// that removing it would free, by how often it was used (GDSF, Cherkasova,
// HPL-98-69, with the measured build time as cost).
func (e Entry) Value() float64 {
	return float64(e.Uses+1) * e.BuildTime.Seconds() / (float64(e.Own)/(1<<20) + 1)
}

// List returns all images, the last used first.
func (c *Cache) List(ctx context.Context) ([]Entry, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT key, manifest, tree, suite, wanted, packages, bytes, made, used, uses, build_ms,
		(SELECT COALESCE(SUM(size), 0) FROM layers l WHERE l.key = i.key AND NOT EXISTS
			(SELECT 1 FROM layers o WHERE o.digest = l.digest AND o.key <> l.key))
		FROM images i ORDER BY used DESC, key`)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	defer rows.Close()
	var all []Entry
	for rows.Next() {
		var e Entry
		var wanted string
		var made, used, ms int64
		if err := rows.Scan(&e.Key, &e.Manifest, &e.Tree, &e.Suite, &wanted, &e.Packages, &e.Bytes, &made, &used, &e.Uses, &ms, &e.Own); err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		e.Wanted = strings.Fields(wanted)
		e.Made, e.Used, e.BuildTime = time.Unix(made, 0), time.Unix(used, 0), time.Duration(ms)*time.Millisecond
		all = append(all, e)
	}
	return all, rows.Err()
}

// Match returns the one image whose key or manifest digest begins with prefix.
func (c *Cache) Match(ctx context.Context, prefix string) (Entry, error) {
	all, err := c.List(ctx)
	if err != nil {
		return Entry{}, err
	}
	var found []Entry
	for _, e := range all {
		if len(prefix) >= 4 && (strings.HasPrefix(string(e.Key), prefix) || strings.HasPrefix(e.Manifest.Hex(), strings.TrimPrefix(prefix, "sha256:"))) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return Entry{}, fmt.Errorf("image %q: %w: give at least 4 digits of a key that 'ore images ls' shows", prefix, image.ErrMissing)
	case 1:
		return found[0], nil
	default:
		return Entry{}, fmt.Errorf("image %q: %d images begin so: give more digits", prefix, len(found))
	}
}

// Forget removes the image of key from the list and deletes the blobs that no
// other image has. It refuses an image that somebody holds.
func (c *Cache) Forget(ctx context.Context, key ore.Key) (freed int64, err error) {
	m, err := c.Find(ctx, key)
	if errors.Is(err, image.ErrMissing) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, l := range m.Layers {
		if used, err := c.Held(l.Digest); err != nil || used {
			if err == nil {
				err = errors.New("a running job has it: end the job first (ore jobs ls)")
			}
			return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
		}
	}
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `DELETE FROM images WHERE key = ?`, string(key)); err != nil {
		return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
	}
	gone, err := unlisted(ctx, tx, m)
	if err != nil {
		return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("remove image %s: %w", key.Short(), err)
	}
	for _, l := range gone {
		if err := c.Remove(l.Digest); err != nil {
			return freed, err
		}
		freed += l.Size
	}
	return freed, c.Remove(m.Digest())
}

// unlisted returns the layers of m that no listed image has.
func unlisted(ctx context.Context, tx *sql.Tx, m image.Manifest) ([]image.Layer, error) {
	var gone []image.Layer
	for _, l := range m.Layers {
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM layers WHERE digest = ?`, string(l.Digest)).Scan(&n); err != nil {
			return nil, err
		}
		if n == 0 {
			gone = append(gone, l)
		}
	}
	return gone, nil
}

// Prune returns which images to remove, least valuable first, until the layers
// of the rest take at most quota bytes. It removes nothing itself.
func Prune(all []Entry, quota int64) []Entry {
	var sum int64
	for _, e := range all {
		sum += e.Own
	}
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b Entry) int {
		if c := cmp.Compare(a.Value(), b.Value()); c != 0 {
			return c
		}
		return a.Used.Compare(b.Used)
	})
	var out []Entry
	for _, e := range order {
		if sum <= quota {
			break
		}
		out = append(out, e)
		sum -= e.Own
	}
	return out
}

func joinNames(names []string) string { return strings.Join(names, " ") }
