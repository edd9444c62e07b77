package cache

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"ore"
	"ore/cache/index"
)

// short is a hash for columns that are only compared: 64 bits of SHA-256 over
// the JSON of v.
func short(v any) int64 {
	sum := sha256.Sum256([]byte(marshal(v)))
	return int64(binary.LittleEndian.Uint64(sum[:]))
}

// plain says whether env is packages alone.
func plain(env ore.Environment) bool { return len(env.Files) == 0 && len(env.Steps) == 0 }

// kindOf says what must be equal for an image of env to be a candidate: for
// plain ones the base and the architecture. Files may lie over what packages
// bring, and steps have seen the packages that were there: on such an image
// only further steps can be built without another result than a clean build's,
// so that packages and files must be equal, too.
func kindOf(env ore.Environment) int64 {
	if plain(env) {
		return plainKind(env)
	}
	return madeKind(env)
}

func plainKind(env ore.Environment) int64 { return short([]any{"plain", env.Base, env.Arch}) }

func madeKind(env ore.Environment) int64 {
	packages := make([]uint64, len(env.Packages))
	for i, p := range env.Packages {
		packages[i] = index.Hash(p)
	}
	slices.Sort(packages)
	return short([]any{"made", env.Base, env.Arch, packages, env.Files, env.Sources})
}

func sourcesOf(env ore.Environment) int64 { return short(env.Sources) }

// stepHashes names each step by its content and that of all that it needs.
func stepHashes(steps []ore.Step) []string {
	hashes := map[string]string{}
	var all []string
	for _, s := range steps {
		var needs []string
		for _, n := range s.Needs {
			needs = append(needs, hashes[n])
		}
		slices.Sort(needs)
		sum := sha256.Sum256([]byte(marshal([]any{s.Name, needs, s.Run, s.Network})))
		hashes[s.Name] = hex.EncodeToString(sum[:8])
		all = append(all, hashes[s.Name])
	}
	return all
}

// WishOf names what env was resolved from: all of it but the versions. Two
// environments with one wish serve the same request at different times.
func WishOf(env ore.Environment) string {
	sum := sha256.Sum256([]byte(marshal([]any{env.Base, env.Arch, env.Manual, env.Files, stepHashes(env.Steps), env.Sources})))
	return hex.EncodeToString(sum[:16])
}

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
