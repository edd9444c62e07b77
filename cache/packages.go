package cache

import (
	"context"
	"database/sql"
	"slices"

	"ore"
	"ore/cache/index"
	"ore/cache/kind"
)

// WishOf names what env was resolved from: all of it but the versions. Two
// environments with one wish serve the same request at different times.
func WishOf(env ore.Environment) string { return kind.Wish(env) }

// intern returns the ids of packages, ascending, giving new ones where need be.
func intern(ctx context.Context, tx *sql.Tx, packages []ore.Package) ([]uint32, error) {
	find, err := tx.PrepareContext(ctx, `SELECT id FROM packages WHERE hash = ?`)
	if err != nil {
		return nil, err
	}
	defer find.Close()
	add, err := tx.PrepareContext(ctx, `INSERT INTO packages (hash, name, version, arch, digest, size) VALUES (?, ?, ?, ?, ?, ?) RETURNING id`)
	if err != nil {
		return nil, err
	}
	defer add.Close()
	ids := make([]uint32, 0, len(packages))
	for _, p := range packages {
		var id uint32
		hash := int64(index.Hash(p))
		err := find.QueryRowContext(ctx, hash).Scan(&id)
		if err == sql.ErrNoRows {
			err = add.QueryRowContext(ctx, hash, p.Name, p.Version, p.Arch, string(p.Digest), p.Size).Scan(&id)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
