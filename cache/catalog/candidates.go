package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/cache/index"
	"ore/cache/kind"
)

// Candidate is an image from which an environment could be made, and how it
// differs. It is a hint: that its layers are there is seen when it is found.
type Candidate struct {
	Key         ore.Key
	Manifest    ore.Digest
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

// Catalog is the images that were listed at one moment.
type Catalog struct {
	Files []*index.Index // an image is in one of them, a package too
	Gone  map[int64]bool // images of Files that went since
}

// Ask is a question for candidates, as far as the question alone tells.
type Ask struct {
	env     ore.Environment
	key     ore.Key
	sources int64    // hash of env's apt sources
	plain   uint64   // the kind of images of packages alone that could serve it
	made    uint64   // the kind of images with files or steps that could, 0 for none
	hashes  []uint64 // of env.Packages
	steps   []string // hashes of env's steps
}

// NewAsk hashes what env asks for.
func NewAsk(env ore.Environment) *Ask {
	a := &Ask{
		env: env, key: env.Key(), plain: uint64(kind.PlainKind(env)), sources: kind.Sources(env), steps: kind.Steps(env.Steps),
		hashes: make([]uint64, len(env.Packages)),
	}
	if !kind.Plain(env) {
		a.made = uint64(kind.MadeKind(env))
	}
	for i, p := range env.Packages {
		a.hashes[i] = index.Hash(p)
	}
	return a
}

// placed is a package's id and its place in an environment.
type placed struct {
	id    uint32
	place int
}

// question is an Ask in the terms of one catalog.
type question struct {
	*Ask
	Catalog
	ids   []placed // known packages of env, ascending
	query index.Query
}

// found is an image that may be a candidate.
type found struct {
	Candidate
	row    Row
	score  int64
	serves bool // it can be of use, going by all but its packages
}

// Candidates returns at most max of the images that have most in common with what
// is asked: first the one with its key, then those that have run most of its
// steps, then the best by rank. The error matches [index.ErrDamaged] if a file is
// not what it was.
func (c Catalog) Candidates(a *Ask, rank index.Rank, max int) ([]Candidate, error) {
	q := c.question(a, rank)
	all, err := q.collect(max)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(x, y found) int {
		switch {
		case x.Exact != y.Exact && x.Exact:
			return -1
		case x.Exact != y.Exact:
			return 1
		}
		return cmp.Or(len(y.Ran)-len(x.Ran), cmp.Compare(y.score, x.score), cmp.Compare(y.row.Seq, x.row.Seq))
	})
	all = slices.DeleteFunc(all, func(f found) bool { return !f.serves })
	all = all[:min(len(all), max)]
	out := make([]Candidate, len(all))
	var g errgroup.Group
	for i := range all {
		g.Go(func() error {
			err := q.compare(&all[i])
			out[i] = all[i].Candidate
			return err
		})
	}
	return out, g.Wait()
}

// question finds the packages that are asked for.
func (c Catalog) question(a *Ask, rank index.Rank) question {
	q := question{Ask: a, Catalog: c, ids: make([]placed, 0, len(a.hashes))}
	wanted := make([]index.Wanted, 0, len(a.hashes))
	for i, h := range a.hashes {
		for _, f := range c.Files {
			if id := f.ID(h); id != 0 {
				q.ids = append(q.ids, placed{id, i})
				wanted = append(wanted, index.Wanted{ID: id, Size: a.env.Packages[i].Size})
				break
			}
		}
	}
	slices.SortFunc(q.ids, func(x, y placed) int { return cmp.Compare(x.id, y.id) })
	q.query = rank.Query(wanted)
	return q
}

// collect reads the images that may be candidates: the one with the key, those
// that have run steps, and of the others the best, one more than is asked for,
// since that with the key comes first whatever its score.
func (q question) collect(max int) ([]found, error) {
	var all []found
	for _, f := range q.Files {
		best := index.NewBest(max + 1)
		if err := f.Search(q.plain, q.query, q.Gone, best); err != nil {
			return nil, err
		}
		var places []int
		for _, h := range best.Hits {
			places = append(places, h.Place)
		}
		for _, at := range f.Named(name(q.key)) {
			places = append(places, at)
		}
		if q.made != 0 {
			for first, n := f.Of(q.made); n > 0; n-- {
				places = append(places, first+n-1)
			}
		}
		slices.Sort(places)
		for _, at := range slices.Compact(places) {
			m, err := f.Image(at)
			if err != nil {
				return nil, err
			}
			row, err := rowOf(m)
			if err != nil {
				return nil, err
			}
			if !q.Gone[row.Seq] {
				all = append(all, q.serve(row))
			}
		}
	}
	return all, nil
}

// serve notes how an image differs in all but packages, and whether it can be of
// use: one that has run a step that is not asked for cannot, nor can one of
// another key that has nothing in common.
func (q question) serve(r Row) found {
	f := found{row: r, Candidate: Candidate{
		Key: r.Key, Manifest: r.Manifest, Exact: r.Key == q.key, SameSources: r.Sources == q.sources, SameFiles: true,
	}}
	if r.Plain {
		f.SameFiles = len(q.env.Files) == 0
	}
	for i, h := range q.steps {
		if slices.Contains(r.Steps, h) {
			f.Ran = append(f.Ran, q.env.Steps[i].Name)
		}
	}
	f.SameSteps = len(f.Ran) == len(q.env.Steps)
	score, common := q.query.Score(r.Set)
	f.score, f.serves = score, len(f.Ran) == len(r.Steps) && (f.Exact || common > 0)
	return f
}

// compare notes how an image's packages differ from those that are asked for.
func (q question) compare(f *found) (err error) {
	set, common := f.row.Set, make([]bool, len(q.env.Packages))
	extra, overlap := make([]uint32, 0, len(set)), 0
	for i, j := 0, 0; j < len(set); j++ { // both ascend
		for i < len(q.ids) && q.ids[i].id < set[j] {
			i++
		}
		if i == len(q.ids) || q.ids[i].id != set[j] {
			extra = append(extra, set[j])
			continue
		}
		for ; i < len(q.ids) && q.ids[i].id == set[j]; i++ {
			common[q.ids[i].place] = true
		}
		overlap++
	}
	f.Extra = make([]ore.Package, len(extra))
	for i, id := range extra {
		if f.Extra[i], err = q.pkg(id); err != nil {
			return err
		}
	}
	f.Missing = make([]ore.Package, 0, len(common)-min(overlap, len(common)))
	for i, p := range q.env.Packages {
		if !common[i] {
			f.Missing = append(f.Missing, p)
		}
	}
	f.Score = q.query.Worth(set)
	return nil
}

// pkg returns the package with an id. One that no file has is damage too: images
// are written with all that they have.
func (q question) pkg(id uint32) (p ore.Package, err error) {
	for _, f := range q.Files {
		if p, err = f.Package(id); err == nil || errors.Is(err, index.ErrDamaged) {
			return p, err
		}
	}
	return p, fmt.Errorf("package %d: %w", id, index.ErrDamaged)
}
