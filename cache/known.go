package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"ore/cache/catalog"
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
// never changed.
type known struct {
	generation int64
	indexed    int64        // the generation of large
	large      *index.Index // nil if there is none
	catalog    catalog.Catalog
	fresh      int // images that are not in large
	packages   int // packages that are not in large
}

// state is the row of the table of that name.
type state struct {
	generation, indexed, upto int64
	packages                  uint32
}

func readState(ctx context.Context, tx *sql.Tx) (state, error) {
	var s state
	err := tx.QueryRowContext(ctx, `SELECT generation, indexed, upto, packages FROM state`).Scan(&s.generation, &s.indexed, &s.upto, &s.packages)
	return s, err
}

// refresh returns what is listed now: from what is published, if that counts,
// else from the database, and then it is published.
func (c *Cache) refresh(ctx context.Context) (known, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.takePublished() {
		return c.known, nil
	}
	err := c.read(ctx, false)
	return c.known, err
}

// withoutIndex is refresh for who met damage in the index file.
func (c *Cache) withoutIndex(ctx context.Context) (known, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.read(ctx, true)
	return c.known, err
}

// identity returns of which database something is published.
func (c *Cache) identity() (catalog.Identity, error) {
	return catalog.Identity{Schema: schemaVersion, Boot: c.boot}.At(c.database())
}

// takePublished makes known what is published, and says whether that counts. The
// caller has the mutex.
func (c *Cache) takePublished() bool {
	of, err := c.identity()
	if err != nil {
		return false
	}
	p, err := catalog.In(c.dir).Read(of, func(p catalog.Published) bool { return p.Generation == c.known.generation })
	if err != nil {
		return false
	}
	if p.Generation == c.known.generation {
		return true
	}
	next := known{generation: p.Generation, indexed: p.Indexed}
	if next.large, err = c.openIndex(p.Indexed); err != nil || next.large == nil && p.Indexed != 0 {
		return false
	}
	if next.catalog, err = p.Catalog(next.large); err != nil {
		return false
	}
	next.count()
	c.known = next
	return true
}

// count notes how much came since the large index.
func (k *known) count() { k.fresh, k.packages = k.catalog.Files[len(k.catalog.Files)-1].Size() }

// openIndex opens the large index, or gives the one that is open. One that is gone
// or damaged is none, which costs time and no answer.
func (c *Cache) openIndex(indexed int64) (*index.Index, error) {
	if indexed == 0 || indexed == c.known.indexed && c.known.large != nil {
		return c.known.large, nil
	}
	x, err := index.Open(c.indexPath(indexed), &c.mapping)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, index.ErrDamaged) {
		return nil, nil
	}
	return x, err
}

func (c *Cache) indexPath(generation int64) string {
	return filepath.Join(c.dir, "index", strconv.FormatInt(generation, 10))
}

// read makes known what the database has, at one moment, and publishes it unless
// it is told not to use the large index. The caller has the mutex.
func (c *Cache) read(ctx context.Context, alone bool) error {
	tx, err := c.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	s, err := readState(ctx, tx)
	if err != nil {
		return err
	}
	if s.generation == c.known.generation && s.indexed == c.known.indexed && !alone {
		return nil
	}
	next := known{generation: s.generation, indexed: s.indexed}
	if !alone {
		if next.large, err = c.openIndex(s.indexed); err != nil {
			return err
		}
	}
	if next.large == nil {
		s.upto, s.packages = 0, 0 // all counts as fresh
	}
	p, err := readSince(ctx, tx, s)
	if err != nil {
		return err
	}
	if next.catalog, err = p.Catalog(next.large); err != nil {
		return err
	}
	next.count()
	c.known = next
	if err := tx.Rollback(); err != nil {
		return err
	}
	if next.large != nil || s.indexed == 0 {
		c.publish(ctx, p)
	}
	return nil
}

// readSince reads what came and went since s.
func readSince(ctx context.Context, tx *sql.Tx, s state) (catalog.Published, error) {
	p := catalog.Published{Generation: s.generation, Indexed: s.indexed}
	images, err := readRows(ctx, tx, s.upto)
	if err != nil {
		return p, err
	}
	packages, err := readPackages(ctx, tx, s.packages)
	if err != nil {
		return p, err
	}
	p.Since = index.Build(packages, images)
	rows, err := tx.QueryContext(ctx, `SELECT seq FROM dropped ORDER BY seq`)
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return p, err
		}
		p.Gone = append(p.Gone, seq)
	}
	return p, rows.Err()
}

// gate is the lock of what is published.
func (c *Cache) gate() string { return filepath.Join(c.dir, "locks", catalog.Name) }

// publish tells the other processes of p, if it is still so. Where it cannot, they
// ask the database.
func (c *Cache) publish(ctx context.Context, p catalog.Published) {
	of, err := c.identity()
	if err != nil {
		return
	}
	lock, err := flight.Try(c.gate())
	if err != nil {
		return // somebody else is at it, or about to change the list
	}
	defer lock.Close()
	var now int64
	err = c.db.QueryRowContext(ctx, `SELECT generation, EXISTS (SELECT 1 FROM doomed) FROM state`).Scan(&now, &p.Doomed)
	if err == nil && now == p.Generation {
		_ = catalog.In(c.dir).Write(p, of)
	}
}

// retract takes back what is published, and lets nobody publish until the lock is
// closed: the list is about to be another.
func (c *Cache) retract(ctx context.Context) (lock *os.File, err error) {
	if lock, err = flight.Wait(ctx, c.gate(), nil); err != nil {
		return nil, err
	}
	if err := catalog.In(c.dir).Remove(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// settled says whether the database needs nothing before it is used: it is what
// is published, and there are no blobs to be deleted.
func (c *Cache) settled() bool {
	of, err := c.identity()
	if err != nil {
		return false
	}
	p, err := catalog.In(c.dir).Read(of, func(catalog.Published) bool { return true })
	return err == nil && !p.Doomed
}

// reindex writes the index file again if too much came since it was written.
func (c *Cache) reindex(ctx context.Context) error {
	k, err := c.refresh(ctx)
	if err != nil {
		return err
	}
	if k.fresh <= maxFresh && k.packages <= maxFreshPackages && len(k.catalog.Gone) <= maxFresh {
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
	rows, err := tx.QueryContext(ctx, `SELECT seq FROM images`)
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
		if e.Name() == strconv.FormatInt(but, 10) || e.Name() == catalog.Name {
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
	images   []index.Image
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
	if l.images, err = readRows(ctx, tx, 0); err != nil {
		return l, err
	}
	packages, err := readPackages(ctx, tx, 0)
	if err != nil {
		return l, err
	}
	l.unused = make(map[uint32]bool, len(packages))
	for _, p := range packages {
		l.unused[p.ID] = true
	}
	for _, m := range l.images {
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

// readRows reads what the index has of the images after since.
func readRows(ctx context.Context, tx *sql.Tx, since int64) ([]index.Image, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, key, manifest, plain, kind, sources, steps, packs FROM images WHERE seq > ?`, since)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []index.Image
	for rows.Next() {
		var r catalog.Row
		var steps string
		var packs []byte
		if err := rows.Scan(&r.Seq, &r.Key, &r.Manifest, &r.Plain, &r.Kind, &r.Sources, &steps, &packs); err != nil {
			return nil, err
		}
		r.Steps = strings.Fields(steps)
		r.Set, _ = index.ParseSet(packs) // a damaged set has nothing in common with any
		all = append(all, r.Image())
	}
	return all, rows.Err()
}

// readPackages reads the packages after since.
func readPackages(ctx context.Context, tx *sql.Tx, since uint32) ([]index.Package, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, name, version, arch, digest, size FROM packages WHERE id > ?`, since)
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
