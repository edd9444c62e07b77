package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"ore"
	"ore/image"
)

// busyTimeout is how long a writer waits for another process's transaction.
// Transactions here write a few thousand rows at most.
const busyTimeout = 20 * time.Second

// schema is applied at every opening; its statements are idempotent.
const schema = `
CREATE TABLE IF NOT EXISTS images (
	key      TEXT PRIMARY KEY,
	manifest TEXT NOT NULL,
	tree     TEXT NOT NULL,
	suite    TEXT NOT NULL,
	wanted   TEXT NOT NULL,    -- the names asked for, by spaces
	packages INTEGER NOT NULL,
	bytes    INTEGER NOT NULL, -- of the layers
	made     INTEGER NOT NULL, -- Unix seconds
	used     INTEGER NOT NULL, -- Unix seconds
	uses     INTEGER NOT NULL DEFAULT 0,
	build_ms INTEGER NOT NULL  -- what making it took, for eviction by value
);
CREATE TABLE IF NOT EXISTS layers (
	key    TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
	place  INTEGER NOT NULL,
	digest TEXT NOT NULL,
	size   INTEGER NOT NULL,
	PRIMARY KEY (key, place)
);
CREATE INDEX IF NOT EXISTS layers_digest ON layers (digest);`

// Cache is the images of one folder.
type Cache struct {
	*image.Store
	db  *sql.DB
	dir string
}

// Open opens the cache in dir, making it if need be.
func Open(ctx context.Context, dir string) (*Cache, error) {
	store, err := image.OpenStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "locks"), 0o755); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	pragmas := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)",
	}}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "images.db")+"?"+pragmas.Encode())
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	db.SetMaxOpenConns(1) // one writer; the work is small
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open cache %s: %w", dir, err), db.Close())
	}
	return &Cache{Store: store, db: db, dir: dir}, nil
}

// Close ends the use of the cache.
func (c *Cache) Close() error { return c.db.Close() }

// Find returns the image of key. The error matches image.ErrMissing if there
// is none, or if one of its layers is gone: such an image is forgotten.
func (c *Cache) Find(ctx context.Context, key ore.Key) (image.Manifest, error) {
	var d string
	err := c.db.QueryRowContext(ctx, `SELECT manifest FROM images WHERE key = ?`, string(key)).Scan(&d)
	if errors.Is(err, sql.ErrNoRows) {
		return image.Manifest{}, fmt.Errorf("image %s: %w", key.Short(), image.ErrMissing)
	}
	if err != nil {
		return image.Manifest{}, fmt.Errorf("find image %s: %w", key.Short(), err)
	}
	m, err := c.complete(ore.Digest(d))
	if errors.Is(err, image.ErrMissing) || errors.Is(err, image.ErrRotten) {
		if _, err := c.db.ExecContext(ctx, `DELETE FROM images WHERE key = ? AND manifest = ?`, string(key), d); err != nil {
			return m, fmt.Errorf("forget image %s: %w", key.Short(), err)
		}
		return m, fmt.Errorf("image %s: %w", key.Short(), image.ErrMissing)
	}
	return m, err
}

// complete reads a manifest and looks whether all its layers are there whole.
func (c *Cache) complete(d ore.Digest) (image.Manifest, error) {
	m, err := c.Manifest(d)
	if err != nil {
		return m, err
	}
	for _, l := range m.Layers {
		p, err := c.Path(l.Digest)
		if err != nil {
			return m, err
		}
		if info, err := os.Stat(p); err != nil || info.Size() != l.Size {
			return m, fmt.Errorf("layer %s: %w", l.Digest.Short(), image.ErrRotten)
		}
	}
	return m, nil
}

// Register lists m, whose layers are in the store, as the image of its key.
// took is what making it cost.
func (c *Cache) Register(ctx context.Context, m image.Manifest, took time.Duration) (ore.Digest, error) {
	d, err := c.PutBytes(ctx, m.Encode())
	if err != nil {
		return "", fmt.Errorf("register image %s: %w", m.Key.Short(), err)
	}
	if _, err := c.complete(d); err != nil {
		return "", fmt.Errorf("register image %s: %w", m.Key.Short(), err)
	}
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return "", fmt.Errorf("register image %s: %w", m.Key.Short(), err)
	}
	defer tx.Rollback()
	if err := insert(ctx, tx, m, d, took); err != nil {
		return "", fmt.Errorf("register image %s: %w", m.Key.Short(), err)
	}
	return d, tx.Commit()
}

func insert(ctx context.Context, tx *sql.Tx, m image.Manifest, d ore.Digest, took time.Duration) error {
	now := time.Now().Unix()
	if _, err := tx.ExecContext(ctx, `DELETE FROM images WHERE key = ?`, string(m.Key)); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO images (key, manifest, tree, suite, wanted, packages, bytes, made, used, build_ms)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(m.Key), string(d), string(m.Tree), m.Environment.Base.String(), joinNames(m.Environment.Manual),
		len(m.Environment.Packages), m.Size(), now, now, took.Milliseconds())
	if err != nil {
		return err
	}
	for i, l := range m.Layers {
		if _, err := tx.ExecContext(ctx, `INSERT INTO layers (key, place, digest, size) VALUES (?, ?, ?, ?)`,
			string(m.Key), i, string(l.Digest), l.Size); err != nil {
			return err
		}
	}
	return nil
}

// Touch notes that the image of key was used now.
func (c *Cache) Touch(ctx context.Context, key ore.Key) error {
	_, err := c.db.ExecContext(ctx, `UPDATE images SET used = ?, uses = uses + 1 WHERE key = ?`, time.Now().Unix(), string(key))
	if err != nil {
		return fmt.Errorf("note use of image %s: %w", key.Short(), err)
	}
	return nil
}
