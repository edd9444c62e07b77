// Package origin keeps who signed the layers of an image cache that were not made
// here, in the table origins of its database.
//
// An image that is made here may stand on layers that somebody else made: a base
// that was fetched, an image that was near. Its signature is the cache's own, which
// says who made it, but not of what. So the signers of layers that came from
// elsewhere are kept beside the images that they came with, which may be evicted;
// and when nobody who is trusted has signed a layer, what was made of it is not
// trusted either. Where several have sent a layer, bit for bit the same, it is
// enough to trust one of them. A layer that is then made here, the same again, is
// the cache's own, and what stands on it counts.
//
// A row says that somebody signed a part of what is in a layer: the layer itself, or
// one that is no more, of which it was made.
package origin

import (
	"context"
	"database/sql"
	"fmt"

	"ore"
	"ore/image"
)

// Came notes whose the layers of an image are that comes from elsewhere and is
// about to be listed. Layers that images have which the cache's own key signed are
// not somebody else's because an image of somebody else has them, too.
func Came(ctx context.Context, tx *sql.Tx, layers []image.Layer, signer, own string) error {
	for _, l := range layers {
		// What it is a part of has one more who signed it.
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO origins SELECT DISTINCT digest, ?1, ?2 FROM origins WHERE part = ?1`,
			string(l.Digest), signer); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO origins SELECT ?1, ?1, ?2 WHERE NOT EXISTS
				(SELECT 1 FROM layers l JOIN images i ON i.key = l.key WHERE l.digest = ?1 AND i.signer = ?3 AND ?3 <> '')`,
			string(l.Digest), signer, own); err != nil {
			return err
		}
	}
	return nil
}

// Made notes that a layer was made here: from packages, or of what the layers have
// that are named, whose origin is then its own.
func Made(ctx context.Context, tx *sql.Tx, layer image.Layer, of []image.Layer) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM origins WHERE digest = ?1 OR part = ?1`, string(layer.Digest)); err != nil {
		return err
	}
	for _, l := range of {
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO origins SELECT ?, part, signer FROM origins WHERE digest = ?`,
			string(layer.Digest), string(l.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// Part is what came from elsewhere of what is in a layer.
type Part struct {
	Layer   ore.Digest
	Signers []string // "" for nobody
}

// Parts returns what came from elsewhere of a layer, nothing for one that was made
// here.
func Parts(ctx context.Context, db *sql.DB, layer ore.Digest) ([]Part, error) {
	rows, err := db.QueryContext(ctx, `SELECT part, signer FROM origins WHERE digest = ? ORDER BY part, signer DESC`, string(layer))
	if err != nil {
		return nil, fmt.Errorf("origin of layer %s: %w", layer.Short(), err)
	}
	defer rows.Close()
	var all []Part
	for rows.Next() {
		var part ore.Digest
		var signer string
		if err := rows.Scan(&part, &signer); err != nil {
			return nil, fmt.Errorf("origin of layer %s: %w", layer.Short(), err)
		}
		if len(all) == 0 || all[len(all)-1].Layer != part {
			all = append(all, Part{Layer: part})
		}
		p := &all[len(all)-1]
		p.Signers = append(p.Signers, signer)
	}
	return all, rows.Err()
}

// Begin makes the table of a cache that had none, of the images that it lists. What
// is uppermost in an image that was made here was made here, too.
func Begin(ctx context.Context, tx *sql.Tx, own string) error {
	for _, q := range []string{
		`CREATE TABLE origins (digest TEXT NOT NULL, part TEXT NOT NULL, signer TEXT NOT NULL, PRIMARY KEY (digest, part, signer)) WITHOUT ROWID`,
		`CREATE INDEX origins_part ON origins (part)`,
	} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO origins SELECT DISTINCT l.digest, l.digest, i.signer FROM layers l JOIN images i ON i.key = l.key
		WHERE i.signer <> ?1 AND i.signer <> '' AND NOT EXISTS (SELECT 1 FROM layers u JOIN images o ON o.key = u.key
			WHERE u.digest = l.digest AND o.signer = ?1 AND ?1 <> '' AND u.place = (SELECT MAX(place) FROM layers WHERE key = o.key))`, own)
	return err
}
