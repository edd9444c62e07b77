package cache

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
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
	Pinned    bool       // never evicted
	Outdated  []Outdated `json:",omitempty"` // packages that have a newer version
	Signer    string     `json:",omitempty"` // the key that signed it, "" for none
	Trusted   bool       // whether that key is trusted
}

// Outdated is a package that has a newer version.
type Outdated struct {
	Name, Version, Newer string
}

// entryColumns are the columns of the table images, as i, that make an Entry
// but for Own.
const entryColumns = `key, manifest, tree, suite, wanted, packages, bytes, made, used, uses, build_ms, pinned, outdated, signer`

// ownColumn follows entryColumns: the bytes of the layers that no other image has.
const ownColumn = `, (SELECT COALESCE(SUM(size), 0) FROM layers l WHERE l.key = i.key AND NOT EXISTS
		(SELECT 1 FROM layers o WHERE o.digest = l.digest AND o.key <> l.key))`

// scanEntry reads entryColumns, Own and what follows them.
func (c *Cache) scanEntry(rows *sql.Rows, more ...any) (Entry, error) {
	var e Entry
	var wanted, outdated string
	var made, used, ms int64
	to := []any{&e.Key, &e.Manifest, &e.Tree, &e.Suite, &wanted, &e.Packages, &e.Bytes, &made, &used, &e.Uses, &ms,
		&e.Pinned, &outdated, &e.Signer, &e.Own}
	if err := rows.Scan(append(to, more...)...); err != nil {
		return e, err
	}
	if outdated != "" {
		if err := json.Unmarshal([]byte(outdated), &e.Outdated); err != nil {
			return e, fmt.Errorf("image %s: outdated packages: %w", e.Key.Short(), err)
		}
	}
	e.Wanted = strings.Fields(wanted)
	e.Made, e.Used, e.BuildTime = time.Unix(made, 0), time.Unix(used, 0), time.Duration(ms)*time.Millisecond
	e.Trusted = c.config.Trusted.Trusted(e.Signer) || c.config.Signer != nil && e.Signer == c.config.Signer.Key()
	return e, nil
}

// List returns all images, the last used first.
func (c *Cache) List(ctx context.Context) ([]Entry, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT `+entryColumns+ownColumn+` FROM images i ORDER BY used DESC, key`)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	defer rows.Close()
	var all []Entry
	for rows.Next() {
		e, err := c.scanEntry(rows)
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
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

func joinNames(names []string) string { return strings.Join(names, " ") }
