package cache

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"ore"
	"ore/cache/index"
	"ore/cache/kind"
	"ore/cache/origin"
	"ore/cache/room"
	"ore/image"
)

// schemaVersion is kept as SQLite's user_version. 1 was never written: the
// first caches have 0 and a table images.
// In 3 only what lies beside the database is another: who writes the list takes
// back what is published of it, which an ore that knows 2 would not.
// 4 has the table origins.
const schemaVersion = 4

// schema makes the tables of schemaVersion.
//
//go:embed schema.sql
var schema string

// migrate brings the database to schemaVersion.
func (c *Cache) migrate(ctx context.Context) error {
	var version int
	if err := c.db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return err
	}
	if version == schemaVersion {
		return nil
	}
	return c.alone(ctx, func(tx *sql.Tx) error {
		// Another process may have done it while this one waited.
		if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil || version == schemaVersion {
			return err
		}
		if version == 2 || version == 3 {
			if err := origin.Begin(ctx, tx, c.own()); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, schemaVersion))
			return err
		}
		if version != 0 {
			return fmt.Errorf("its format is %d, this ore has %d: use the ore that wrote it, or another folder", version, schemaVersion)
		}
		old, err := c.takeOld(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		for _, e := range old {
			if err := c.putOld(ctx, tx, e); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, schemaVersion))
		return err
	})
}

// old is an image of a cache without version.
type old struct {
	manifest               ore.Digest
	made, used, uses, took int64
}

// takeOld reads the images of a cache without version and drops its tables.
func (c *Cache) takeOld(ctx context.Context, tx *sql.Tx) ([]old, error) {
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM sqlite_master WHERE name = 'images'`).Scan(&n); err != nil || n == 0 {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT manifest, made, used, uses, build_ms FROM images`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []old
	for rows.Next() {
		var e old
		if err := rows.Scan(&e.manifest, &e.made, &e.used, &e.uses, &e.took); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `DROP TABLE layers; DROP TABLE images;`)
	return all, err
}

// putOld lists an image of a cache without version. One whose manifest or
// layers are gone is left out.
func (c *Cache) putOld(ctx context.Context, tx *sql.Tx, e old) error {
	m, err := c.complete(e.manifest)
	if errors.Is(err, image.ErrMissing) || errors.Is(err, image.ErrRotten) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := insert(ctx, tx, row{m: m, digest: e.manifest, now: e.made, tookMS: e.took}); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE images SET used = ?, uses = ? WHERE key = ?`, e.used, e.uses, string(m.Key))
	return err
}

// write runs f in a transaction that is the only one that writes. If the list of
// images is another then, what is published of it is taken back before. On a full
// disk f is run twice: again when the spare room was given up.
func (c *Cache) write(ctx context.Context, f func(tx *sql.Tx) error) error {
	var lock *os.File // until after the commit
	defer func() {
		if lock != nil {
			lock.Close()
		}
	}()
	return c.alone(ctx, func(tx *sql.Tx) error {
		before, err := readState(ctx, tx)
		if err == nil {
			err = f(tx)
		}
		if err != nil {
			return err
		}
		after, err := readState(ctx, tx)
		if err == nil && after.generation != before.generation && lock == nil {
			lock, err = c.retract(ctx)
		}
		return err
	})
}

// alone is write for who makes the list.
func (c *Cache) alone(ctx context.Context, f func(tx *sql.Tx) error) error {
	select {
	case c.writer <- struct{}{}:
		defer func() { <-c.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := c.transact(ctx, f)
	if room.In(c.dir).GiveUp(err) {
		err = c.transact(ctx, f)
	}
	return c.explain(err)
}

func (c *Cache) transact(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil) // immediate, by the connection's settings
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// row is an image about to be listed.
type row struct {
	m         image.Manifest
	digest    ore.Digest // of m
	now       int64      // Unix seconds
	tookMS    int64
	signature image.Signature
	foreign   bool          // it comes from somebody else
	of        []image.Layer // what the uppermost layer was made of, if that were layers
}

// insert lists an image in place of what had its key before, whose names, pin
// and history it takes over. Layers that only the one before had are doomed.
func insert(ctx context.Context, tx *sql.Tx, r row) error {
	m, env := r.m, r.m.Environment
	before, err := takeOver(ctx, tx, m.Key)
	if err != nil {
		return err
	}
	if err := drop(ctx, tx, m.Key); err != nil {
		return err
	}
	ids, err := intern(ctx, tx, env.Packages)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO images (key, manifest, tree, suite, wanted, packages, bytes, made, used, build_ms,
		plain, kind, sources, steps, packs, signer, signature, pinned, uses)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(m.Key), string(r.digest), string(m.Tree), env.Base.String(), joinNames(env.Manual),
		len(env.Packages), m.Size(), r.now, r.now, r.tookMS, kind.Plain(env), kind.Of(env), kind.Sources(env),
		joinNames(kind.Steps(env.Steps)), index.AppendSet([]byte{}, ids), r.signature.Key, nonNil(r.signature.Sig), before.pinned, before.uses)
	if err != nil {
		return err
	}
	for i, l := range m.Layers {
		if _, err := tx.ExecContext(ctx, `INSERT INTO layers (key, place, digest, size) VALUES (?, ?, ?, ?)`,
			string(m.Key), i, string(l.Digest), l.Size); err != nil {
			return err
		}
	}
	for _, name := range append(before.names, WishOf(env)) {
		if err := giveName(ctx, tx, name, m.Key); err != nil {
			return err
		}
	}
	return nil
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// earlier is what an image leaves to the next one with its key.
type earlier struct {
	pinned, uses int64
	names        []string
}

func takeOver(ctx context.Context, tx *sql.Tx, key ore.Key) (earlier, error) {
	var e earlier
	err := tx.QueryRowContext(ctx, `SELECT pinned, uses FROM images WHERE key = ?`, string(key)).Scan(&e.pinned, &e.uses)
	if errors.Is(err, sql.ErrNoRows) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT name FROM names WHERE key = ?`, string(key))
	if err != nil {
		return e, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return e, err
		}
		e.names = append(e.names, name)
	}
	return e, rows.Err()
}

func giveName(ctx context.Context, tx *sql.Tx, name string, key ore.Key) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO names VALUES (?, ?) ON CONFLICT DO UPDATE SET key = excluded.key`, name, string(key))
	return err
}

// drop takes the image of key off the list, if it is on it, and dooms its
// blobs: those that another image has are pardoned when they are to be deleted.
// Names that led to it lead nowhere.
func drop(ctx context.Context, tx *sql.Tx, key ore.Key) error {
	for _, q := range []string{
		`INSERT OR IGNORE INTO doomed SELECT digest FROM layers WHERE key = ?`,
		`INSERT OR IGNORE INTO doomed SELECT manifest FROM images WHERE key = ?`,
		`DELETE FROM images WHERE key = ?`,
	} {
		if _, err := tx.ExecContext(ctx, q, string(key)); err != nil {
			return err
		}
	}
	return nil
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("cache: only strings, numbers and lists are kept: " + err.Error())
	}
	return string(b)
}
