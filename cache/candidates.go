package cache

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"ore"
	"ore/cache/index"
)

// Candidate is an image from which an environment could be made, and how it
// differs. It is a hint: that its layers are there is seen when it is found.
type Candidate struct {
	Entry       Entry
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
	env   ore.Environment
	key   ore.Key
	steps []string       // hashes of env's steps
	ids   map[uint32]int // place in env.Packages, for known packages
	query index.Query
	known known
	seen  map[uint32]ore.Package // that were read for this question
}

func (c *Cache) candidates(ctx context.Context, env ore.Environment, max int) ([]Candidate, error) {
	k, err := c.refresh(ctx)
	if err != nil {
		return nil, err
	}
	a := ask{env: env, key: env.Key(), steps: stepHashes(env.Steps), ids: make(map[uint32]int, len(env.Packages)), known: k, seen: map[uint32]ore.Package{}}
	wanted := make([]index.Wanted, 0, len(env.Packages))
	for i, p := range env.Packages {
		id := k.id(index.Hash(p))
		if id == 0 {
			continue // no image has it
		}
		a.ids[id] = i
		wanted = append(wanted, index.Wanted{ID: id, Size: p.Size})
	}
	a.query = c.config.Rank.Query(wanted)
	// One place more than asked for: the image of the very key comes first,
	// whatever its score.
	best := index.NewBest(max + 1)
	kind := uint64(plainKind(env))
	if k.file != nil {
		k.file.Search(kind, a.query, k.gone, best)
	}
	for _, m := range k.fresh {
		if m.Kind != kind || k.gone[m.ID] {
			continue
		}
		if score, common := a.query.Score(m.Set); common > 0 {
			best.Add(index.Hit{Image: m.ID, Score: score})
		}
	}
	found, err := c.details(ctx, a, best.Hits)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(x, y Candidate) int {
		switch {
		case x.Exact != y.Exact && x.Exact:
			return -1
		case x.Exact != y.Exact:
			return 1
		default:
			return len(y.Ran) - len(x.Ran)
		}
	})
	return found[:min(max, len(found))], nil
}

// details reads the images of hits, the one with the asked key and those that
// have run steps, in this order of worth.
func (c *Cache) details(ctx context.Context, a ask, hits []index.Hit) ([]Candidate, error) {
	order := map[int64]int{}
	args := []any{string(a.key), int64(0)}
	if !plain(a.env) {
		args[1] = madeKind(a.env)
	}
	for i, h := range hits {
		order[h.Image] = i
		args = append(args, h.Image)
	}
	rows, err := c.db.QueryContext(ctx, `SELECT `+entryColumns+`, seq, plain, kind, sources, steps, packs FROM images i
		WHERE key = ? OR (plain = 0 AND kind = ?) OR seq IN (`+strings.TrimSuffix(strings.Repeat("?,", len(hits)), ",")+`)`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	type ordered struct {
		Candidate
		place int
	}
	var all []ordered
	for rows.Next() {
		var r candidateRow
		e, err := c.scanEntry(rows, &r.seq, &r.plain, &r.kind, &r.sources, &r.steps, &r.packs)
		if err != nil {
			return nil, err
		}
		found, ok, err := c.compare(ctx, a, e, r)
		if err != nil {
			return nil, err
		}
		place, hit := order[r.seq]
		if !hit {
			place = len(hits)
		}
		if ok {
			all = append(all, ordered{found, place})
		}
	}
	slices.SortStableFunc(all, func(x, y ordered) int { return x.place - y.place })
	out := make([]Candidate, len(all))
	for i, o := range all {
		out[i] = o.Candidate
	}
	return out, rows.Err()
}

// candidateRow is what is read of an image beside its entry.
type candidateRow struct {
	seq, plain, kind, sources int64
	steps                     string
	packs                     []byte
}

// compare says how an image differs from what a asks, and whether it is of use.
func (c *Cache) compare(ctx context.Context, a ask, e Entry, r candidateRow) (Candidate, bool, error) {
	out := Candidate{Entry: e, Exact: e.Key == a.key, SameSources: r.sources == sourcesOf(a.env), SameFiles: true}
	set, ok := index.ParseSet(r.packs)
	if !ok {
		return out, false, nil
	}
	if r.plain != 0 {
		out.SameFiles = len(a.env.Files) == 0
	}
	ran := strings.Fields(r.steps)
	for i, h := range a.steps {
		if slices.Contains(ran, h) {
			out.Ran = append(out.Ran, a.env.Steps[i].Name)
		}
	}
	if len(out.Ran) != len(ran) {
		return out, false, nil // it has run a step that is not asked for
	}
	out.SameSteps = len(out.Ran) == len(a.env.Steps)
	common := make([]bool, len(a.env.Packages))
	overlap := 0
	for _, id := range set {
		if _, asked := a.ids[id]; asked {
			overlap++
		}
	}
	out.Extra = make([]ore.Package, 0, len(set)-overlap)
	for _, id := range set {
		if i, asked := a.ids[id]; asked {
			common[i] = true
			continue
		}
		p, err := c.pkg(ctx, a, id)
		if err != nil {
			return out, false, err
		}
		out.Extra = append(out.Extra, p)
	}
	out.Missing = make([]ore.Package, 0, len(common)-overlap)
	for i, p := range a.env.Packages {
		if !common[i] {
			out.Missing = append(out.Missing, p)
		}
	}
	out.Score = a.query.Worth(set)
	return out, out.Exact || overlap > 0, nil
}

// pkg returns the package with an id, from the index or from the database.
func (c *Cache) pkg(ctx context.Context, a ask, id uint32) (ore.Package, error) {
	if p, ok := a.seen[id]; ok {
		return p, nil
	}
	var p ore.Package
	var err error = sql.ErrNoRows
	if a.known.file != nil {
		p, err = a.known.file.Package(id)
	}
	if err != nil {
		err = c.db.QueryRowContext(ctx, `SELECT name, version, arch, digest, size FROM packages WHERE id = ?`, id).
			Scan(&p.Name, &p.Version, &p.Arch, &p.Digest, &p.Size)
	}
	a.seen[id] = p
	return p, err
}
