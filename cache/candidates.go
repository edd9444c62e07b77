package cache

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ore"
	"ore/cache/index"
	"ore/cache/kind"
)

// Candidate is an image from which an environment could be made, and how it
// differs. It is a hint: that its layers are there is seen when it is found.
type Candidate struct {
	Entry       Entry         // but for Own, which is not looked up
	Exact       bool          // its key is that of the environment
	Missing     []ore.Package // asked for, and not in it
	Extra       []ore.Package // in it, and not asked for; without Path, Archive and Base
	SameFiles   bool          // it has the environment's files
	SameSteps   bool          // it has run all of the environment's steps
	SameSources bool          // it has the environment's apt sources
	Ran         []string      // names of the environment's steps that it has run
	Score       float64       // what it saves by the cache's rank
}

// Superset says whether the image has every package that is asked for, and
// more. It is never another's way to an image under a lock.
func (c Candidate) Superset() bool { return len(c.Missing) == 0 && len(c.Extra) > 0 }

// Candidates returns the images that have most in common with env: first the
// one with its key, then the best by the cache's rank, at most max in all. A
// package is common if its name, version, architecture and digest are. The
// order of packages or layers is of no matter.
//
// Candidates are images with neither files nor steps, and images with the very
// packages and files of env that have run some of its steps. What an image is
// worth that has nothing in common is nothing: such are left out.
func (c *Cache) Candidates(ctx context.Context, env ore.Environment, max int) ([]Candidate, error) {
	all, err := c.candidates(ctx, env, max)
	if err != nil {
		return nil, fmt.Errorf("candidates for %s: %w", env.Key().Short(), err)
	}
	return all, nil
}

// ask is a question for candidates, as the index understands it.
type ask struct {
	env     ore.Environment
	key     ore.Key
	sources int64    // hash of env's apt sources
	kind    uint64   // of images of packages alone that could serve it
	hashes  []uint64 // of env.Packages
	steps   []string // hashes of env's steps
	ids     []placed // known packages of env, ascending
	query   index.Query
	known   known
	seen    map[uint32]ore.Package // that were read for this question
}

// placed is a package's id and its place in an environment.
type placed struct {
	id    uint32
	place int
}

// newAsk hashes what env asks for.
func newAsk(env ore.Environment) *ask {
	a := &ask{
		env: env, key: env.Key(), kind: uint64(kind.PlainKind(env)), sources: kind.Sources(env), steps: kind.Steps(env.Steps),
		hashes: make([]uint64, len(env.Packages)), ids: make([]placed, 0, len(env.Packages)), seen: map[uint32]ore.Package{},
	}
	for i, p := range env.Packages {
		a.hashes[i] = index.Hash(p)
	}
	return a
}

func (c *Cache) candidates(ctx context.Context, env ore.Environment, max int) ([]Candidate, error) {
	// What the database says and what the question alone says are found at once.
	asked := make(chan *ask, 1)
	go func() { asked <- newAsk(env) }()
	k, err := c.refresh(ctx)
	a := <-asked
	if err != nil {
		return nil, err
	}
	best, err := a.best(k, c.config.Rank, max+1) // one more: that of the very key comes first, whatever its score
	if errors.Is(err, index.ErrDamaged) {
		if k, err = c.withoutIndex(ctx); err == nil {
			best, err = a.best(k, c.config.Rank, max+1)
		}
	}
	if err != nil {
		return nil, err
	}
	return c.details(ctx, a, best.Hits, max)
}

// best returns which plain images of k have most in common with what is asked.
func (a *ask) best(k known, rank index.Rank, max int) (*index.Best, error) {
	a.known, a.ids = k, a.ids[:0]
	wanted := make([]index.Wanted, 0, len(a.env.Packages))
	for i, p := range a.env.Packages {
		id := k.id(a.hashes[i])
		if id == 0 {
			continue // no image has it
		}
		a.ids = append(a.ids, placed{id, i})
		wanted = append(wanted, index.Wanted{ID: id, Size: p.Size})
	}
	slices.SortFunc(a.ids, func(x, y placed) int { return cmp.Compare(x.id, y.id) })
	a.query = rank.Query(wanted)
	best := index.NewBest(max)
	if k.file != nil {
		if err := k.file.Search(a.kind, a.query, k.gone, best); err != nil {
			return nil, err
		}
	}
	for _, m := range k.fresh {
		if m.Kind != a.kind || k.gone[m.ID] {
			continue
		}
		if score, common := a.query.Score(m.Set); common > 0 {
			best.Add(index.Hit{Image: m.ID, Score: score})
		}
	}
	return best, nil
}

// details reads the images of hits, the one with the asked key and those that
// have run steps, and returns the best max of them, the best first.
func (c *Cache) details(ctx context.Context, a *ask, hits []index.Hit, max int) ([]Candidate, error) {
	order := map[int64]int{}
	args := []any{string(a.key), int64(0)}
	if !kind.Plain(a.env) {
		args[1] = kind.MadeKind(a.env)
	}
	for i, h := range hits {
		order[h.Image] = i - len(hits) // before those that are no hits
		args = append(args, h.Image)
	}
	all, err := c.rows(ctx, `SELECT `+entryColumns+`, 0, seq, plain, kind, sources, steps, packs FROM images i
		WHERE key = ? OR (plain = 0 AND kind = ?) OR seq IN (`+strings.TrimSuffix(strings.Repeat("?,", len(hits)), ",")+`)`, args...)
	if err != nil {
		return nil, err
	}
	for i := range all {
		a.serve(&all[i])
	}
	slices.SortStableFunc(all, func(x, y candidateRow) int {
		switch {
		case x.Exact != y.Exact && x.Exact:
			return -1
		case x.Exact != y.Exact:
			return 1
		default:
			return cmp.Or(len(y.Ran)-len(x.Ran), order[x.seq]-order[y.seq])
		}
	})
	out := make([]Candidate, 0, max)
	for i := range all {
		if len(out) == max {
			break
		}
		if !all[i].serves {
			continue
		}
		if use, err := c.compare(ctx, a, &all[i]); err != nil {
			return nil, err
		} else if use {
			out = append(out, all[i].Candidate)
		}
	}
	return out, nil
}

// rows reads images. It ends before their packages are looked up: a second
// question during the first would open a second connection, which costs a new
// process as much as all the rest.
func (c *Cache) rows(ctx context.Context, query string, args ...any) ([]candidateRow, error) {
	rows, err := c.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []candidateRow
	for rows.Next() {
		var r candidateRow
		if r.Entry, err = c.scanEntry(rows, &r.seq, &r.plain, &r.kind, &r.sources, &r.steps, &r.packs); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// candidateRow is an image that is read, and what serve and compare make of it.
type candidateRow struct {
	Candidate
	serves bool // it can be of use, going by all but its packages

	seq, plain, kind, sources int64
	steps                     string
	packs                     []byte
}

// serve notes how an image differs in all but packages, and whether it can be of
// use: one that has run a step that is not asked for cannot.
func (a *ask) serve(r *candidateRow) {
	out := &r.Candidate
	out.Exact, out.SameSources, out.SameFiles = out.Entry.Key == a.key, r.sources == a.sources, true
	if r.plain != 0 {
		out.SameFiles = len(a.env.Files) == 0
	}
	ran := strings.Fields(r.steps)
	for i, h := range a.steps {
		if slices.Contains(ran, h) {
			out.Ran = append(out.Ran, a.env.Steps[i].Name)
		}
	}
	out.SameSteps = len(out.Ran) == len(a.env.Steps)
	r.serves = len(out.Ran) == len(ran)
}

// compare notes how an image's packages differ from those that a asks for, and
// says whether it is of use.
func (c *Cache) compare(ctx context.Context, a *ask, r *candidateRow) (use bool, err error) {
	out := &r.Candidate
	set, ok := index.ParseSet(r.packs)
	if !ok {
		return false, nil
	}
	common := make([]bool, len(a.env.Packages))
	extra, overlap := make([]uint32, 0, len(set)), 0
	for i, j := 0, 0; j < len(set); j++ { // both ascend
		for i < len(a.ids) && a.ids[i].id < set[j] {
			i++
		}
		if i == len(a.ids) || a.ids[i].id != set[j] {
			extra = append(extra, set[j])
			continue
		}
		for ; i < len(a.ids) && a.ids[i].id == set[j]; i++ {
			common[a.ids[i].place] = true
		}
		overlap++
	}
	out.Extra = make([]ore.Package, len(extra))
	for i, id := range extra {
		if out.Extra[i], err = c.pkg(ctx, a, id); err != nil {
			return false, err
		}
	}
	out.Missing = make([]ore.Package, 0, len(common)-min(overlap, len(common)))
	for i, p := range a.env.Packages {
		if !common[i] {
			out.Missing = append(out.Missing, p)
		}
	}
	out.Score = a.query.Worth(set)
	return out.Exact || overlap > 0, nil
}

// pkg returns the package with an id, from the index or from the database.
func (c *Cache) pkg(ctx context.Context, a *ask, id uint32) (ore.Package, error) {
	if a.known.file != nil {
		if p, err := a.known.file.Package(id); err == nil {
			return p, nil
		}
	}
	if p, ok := a.seen[id]; ok {
		return p, nil
	}
	// What is not in the file came since: those are few, and are read at once.
	since := a.known.upto
	if _, read := a.seen[since+1]; a.known.file == nil || id <= since || read {
		since = id - 1 // the file is damaged, or there is none
	}
	if err := c.readPackages(ctx, a, since); err != nil {
		return ore.Package{}, err
	}
	p, ok := a.seen[id]
	if !ok {
		return p, fmt.Errorf("package %d: %w", id, sql.ErrNoRows)
	}
	return p, nil
}

// readPackages notes the packages that came after the one with the id since.
func (c *Cache) readPackages(ctx context.Context, a *ask, since uint32) error {
	rows, err := c.db.QueryContext(ctx, `SELECT id, name, version, arch, digest, size FROM packages WHERE id > ? ORDER BY id LIMIT ?`, since, maxFreshPackages)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint32
		var p ore.Package
		if err := rows.Scan(&id, &p.Name, &p.Version, &p.Arch, &p.Digest, &p.Size); err != nil {
			return err
		}
		a.seen[id] = p
	}
	return rows.Err()
}
