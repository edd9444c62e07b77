package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"ore/cache/flight"
	"ore/cache/index"
)

// maxFresh is how many images may have come since the index file was written
// before it is written again, and maxFreshPackages how many packages: reading
// them at the start of a process costs some microseconds each.
const (
	maxFresh         = 64
	maxFreshPackages = 1000
)

// known is what this process has read of the list of images. It is replaced,
// never changed, but for the sets that grow under the cache's mutex.
type known struct {
	generation int64
	indexed    int64         // the generation of file
	file       *index.Index  // nil if there is none
	fresh      []index.Image // images that are not in file
	packages   map[uint64]uint32
	lastImage  int64  // the largest seq that was read
	upto       uint32 // the largest package id in file
	lastID     uint32 // the largest package id that was read
	gone       map[int64]bool
}

// state is the row of the table of that name.
type state struct {
	generation, indexed, upto int64
	packages                  uint32
}

func (c *Cache) state(ctx context.Context) (state, error) {
	var s state
	err := c.db.QueryRowContext(ctx, `SELECT generation, indexed, upto, packages FROM state`).Scan(&s.generation, &s.indexed, &s.upto, &s.packages)
	return s, err
}

// refresh returns what is known after reading what changed since the last time.
func (c *Cache) refresh(ctx context.Context) (known, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.state(ctx)
	if err != nil {
		return known{}, err
	}
	if s.generation == c.known.generation && s.indexed == c.known.indexed {
		return c.known, nil
	}
	next := c.known
	if next.indexed != s.indexed {
		if next, err = c.openIndex(s); err != nil {
			return known{}, err
		}
	}
	if err := c.readFresh(ctx, &next); err != nil {
		return known{}, err
	}
	next.generation = s.generation
	c.known = next
	return next, nil
}

// withoutIndex is refresh for who met damage in the index file.
func (c *Cache) withoutIndex(ctx context.Context) (known, error) {
	c.mu.Lock()
	c.known = known{generation: -1, indexed: c.known.indexed} // another file is opened again
	c.mu.Unlock()
	return c.refresh(ctx)
}

// openIndex opens the file that s names. One that is gone or damaged costs
// time and no answer: all images then count as fresh.
func (c *Cache) openIndex(s state) (known, error) {
	next := known{indexed: s.indexed, lastImage: s.upto, upto: s.packages, lastID: s.packages}
	x, err := index.Open(c.indexPath(s.indexed))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, index.ErrDamaged) {
		next.lastImage, next.lastID = 0, 0
		return next, nil
	}
	next.file = x
	return next, err
}

func (c *Cache) indexPath(generation int64) string {
	return filepath.Join(c.dir, "index", strconv.FormatInt(generation, 10))
}

// readFresh reads the images and packages that are newer than what k has, and
// which are gone. It is one statement, since compiling one costs a process that has
// just started more than running it.
func (c *Cache) readFresh(ctx context.Context, k *known) error {
	rows, err := c.db.QueryContext(ctx, `SELECT 'image', seq, kind, packs FROM images WHERE seq > ? AND plain = 1
		UNION ALL SELECT 'package', id, hash, NULL FROM packages WHERE id > ?
		UNION ALL SELECT 'gone', seq, 0, NULL FROM dropped`, k.lastImage, k.lastID)
	if err != nil {
		return err
	}
	defer rows.Close()
	k.fresh, k.gone = slices.Clip(k.fresh), map[int64]bool{} // others read the old ones
	if k.packages = maps.Clone(k.packages); k.packages == nil {
		k.packages = map[uint64]uint32{}
	}
	for rows.Next() {
		var what, packs sql.RawBytes
		var id, hash int64
		if err := rows.Scan(&what, &id, &hash, &packs); err != nil {
			return err
		}
		switch string(what) {
		case "image":
			m := index.Image{ID: id, Kind: uint64(hash)}
			m.Set, _ = index.ParseSet(packs) // a damaged set has nothing in common with any
			k.fresh, k.lastImage = append(k.fresh, m), max(k.lastImage, id)
		case "package":
			k.packages[uint64(hash)], k.lastID = uint32(id), max(k.lastID, uint32(id))
		default:
			k.gone[id] = true
		}
	}
	return rows.Err()
}

// id returns the id of a package, 0 if no image has it.
func (k known) id(hash uint64) uint32 {
	if id := k.packages[hash]; id != 0 {
		return id
	}
	if k.file == nil {
		return 0
	}
	return k.file.ID(hash)
}

// reindex writes the index file again if too much came since it was written.
func (c *Cache) reindex(ctx context.Context) error {
	k, err := c.refresh(ctx)
	if err != nil {
		return err
	}
	if len(k.fresh) <= maxFresh && len(k.packages) <= maxFreshPackages && len(k.gone) <= maxFresh {
		return nil
	}
	f, err := flight.Try(filepath.Join(c.dir, "locks", "index"))
	if errors.Is(err, flight.ErrLocked) {
		return nil // somebody is at it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.writeIndex(ctx); err != nil {
		return fmt.Errorf("index images: %w", err)
	}
	return nil
}

// writeIndex writes the file for what is listed now, and then says in the
// database that it counts. Packages that no image has any more go on the way.
func (c *Cache) writeIndex(ctx context.Context) error {
	now, err := c.readAll(ctx)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Join(c.dir, "index"), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(index.Build(now.packages, now.images))
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), c.indexPath(now.generation)); err != nil {
		return err
	}
	err = c.write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM dropped`); err != nil {
			return err
		}
		if err := dropAbsent(ctx, tx, now.images); err != nil {
			return err
		}
		if err := dropPackages(ctx, tx, now); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE state SET generation = generation + 1, indexed = ?, upto = ?, packages = ?`,
			now.generation, now.upto, now.state.packages)
		return err
	})
	if err != nil {
		return err
	}
	return c.removeIndexes(now.generation)
}

// dropPackages deletes packages that no image has, neither those that l has nor
// those that came since.
func dropPackages(ctx context.Context, tx *sql.Tx, l listed) error {
	since, err := readImages(ctx, tx, `SELECT seq, kind, packs FROM images WHERE seq > ?`, l.upto)
	if err != nil {
		return err
	}
	for _, m := range since {
		for _, id := range m.Set {
			delete(l.unused, id)
		}
	}
	for id := range l.unused {
		if _, err := tx.ExecContext(ctx, `DELETE FROM packages WHERE id = ?`, id); err != nil {
			return err
		}
	}
	return nil
}

// dropAbsent notes which images of a new file are not listed any more.
func dropAbsent(ctx context.Context, tx *sql.Tx, images []index.Image) error {
	rows, err := tx.QueryContext(ctx, `SELECT seq FROM images WHERE plain = 1`)
	if err != nil {
		return err
	}
	defer rows.Close()
	listed := make(map[int64]bool, len(images))
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		listed[seq] = true
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, m := range images {
		if listed[m.ID] {
			continue
		}
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO dropped VALUES (?)`, m.ID); err != nil {
			return err
		}
	}
	return nil
}

// removeIndexes deletes the files of other generations. A process that has one
// of them mapped keeps it until it looks at the list again.
func (c *Cache) removeIndexes(but int64) error {
	list, err := os.ReadDir(filepath.Join(c.dir, "index"))
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() == strconv.FormatInt(but, 10) {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, "index", e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// listed is what an index is made of.
type listed struct {
	state
	images   []index.Image // the plain ones
	packages []index.Package
	unused   map[uint32]bool // ids of packages that no image has
}

// readAll reads what is listed, at one moment.
func (c *Cache) readAll(ctx context.Context) (l listed, err error) {
	tx, err := c.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return l, err
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, `SELECT generation, (SELECT COALESCE(MAX(seq), 0) FROM images),
		(SELECT COALESCE(MAX(id), 0) FROM packages) FROM state`).Scan(&l.generation, &l.upto, &l.state.packages); err != nil {
		return l, err
	}
	if l.images, err = readImages(ctx, tx, `SELECT seq, kind, packs FROM images WHERE plain = 1`); err != nil {
		return l, err
	}
	others, err := readImages(ctx, tx, `SELECT seq, kind, packs FROM images WHERE plain = 0`)
	if err != nil {
		return l, err
	}
	packages, err := allPackages(ctx, tx)
	if err != nil {
		return l, err
	}
	l.unused = make(map[uint32]bool, len(packages))
	for _, p := range packages {
		l.unused[p.ID] = true
	}
	for _, m := range append(others, l.images...) {
		for _, id := range m.Set {
			delete(l.unused, id)
		}
	}
	for _, p := range packages {
		if !l.unused[p.ID] {
			l.packages = append(l.packages, p)
		}
	}
	return l, nil
}

func readImages(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]index.Image, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []index.Image
	for rows.Next() {
		var m index.Image
		var kind int64
		var packs []byte
		if err := rows.Scan(&m.ID, &kind, &packs); err != nil {
			return nil, err
		}
		m.Kind = uint64(kind)
		m.Set, _ = index.ParseSet(packs) // a damaged set has nothing in common with any
		all = append(all, m)
	}
	return all, rows.Err()
}

func allPackages(ctx context.Context, tx *sql.Tx) ([]index.Package, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, name, version, arch, digest, size FROM packages`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []index.Package
	for rows.Next() {
		var p index.Package
		if err := rows.Scan(&p.ID, &p.Name, &p.Version, &p.Arch, &p.Digest, &p.Size); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}
