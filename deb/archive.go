package deb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb/fetch"
	"ore/deb/resolve"
)

// errNoIndex is what a cache without (enough) indexes gives.
var errNoIndex = errors.New("no index is kept")

// Archive is the proved indexes of one suite and of the further repositories,
// with the folder that fetched packages are kept in. It is safe for concurrent
// use until Close.
type Archive struct {
	config   Config
	client   *fetch.Client
	own      bool     // the client is ours to close
	sources  []opened // in apt's order, without those that are left out
	universe *resolve.Universe
	origins  []int // for each index of the universe, its place in sources
}

// Open gets the indexes that c names, from the cache where they are fresh
// enough, and proves them.
func Open(ctx context.Context, c Config) (*Archive, error) {
	if c.Dir == "" || c.Base.Suite == "" {
		return nil, errors.New("open archive: a cache folder and a suite are needed")
	}
	list, err := c.sources()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(c.Dir, "debs"), 0o755); err != nil {
		return nil, err
	}
	a := &Archive{config: c, client: c.Client}
	if a.client == nil {
		a.client, a.own = fetch.New(), true
	}
	o := &opener{config: c, store: store{dir: a.indexes()}, client: a.client}
	all := make([]opened, len(list))
	g, gctx := errgroup.WithContext(ctx)
	for i, src := range list {
		g.Go(func() (err error) {
			all[i], err = o.open(gctx, src)
			return err
		})
	}
	err = g.Wait()
	a.take(all)
	if err == nil && !slices.ContainsFunc(a.sources, func(s opened) bool { return s.suite == c.Base.Suite && !s.further }) {
		err = fmt.Errorf("suite %s: %w", c.Base.Suite, ErrNoMirror)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// indexes is the folder that they are kept in.
func (a *Archive) indexes() string { return filepath.Join(a.config.Dir, "indexes") }

// take makes the opened sources the archive's.
func (a *Archive) take(all []opened) {
	var list []resolve.Source
	for _, s := range all {
		if len(s.indexes) == 0 {
			continue
		}
		for _, x := range s.indexes {
			list = append(list, resolve.Source{Index: x, Pin: s.state.Pin})
			a.origins = append(a.origins, len(a.sources))
		}
		a.sources = append(a.sources, s)
	}
	a.universe = resolve.New(list)
}

// Close lets go of the indexes; the files in the cache stay.
func (a *Archive) Close() error {
	var errs []error
	for _, s := range a.sources {
		errs = append(errs, s.close())
	}
	if a.own {
		a.client.CloseIdle()
	}
	return errors.Join(errs...)
}

// Resolve closes the wishes under dependencies, together with the base set.
// The environment has neither files nor steps, and w's kernel is not in it.
func (a *Archive) Resolve(ctx context.Context, w ore.Wants) (ore.Environment, error) {
	if w.Base.Suite != a.config.Base.Suite {
		return ore.Environment{}, fmt.Errorf("resolve %s: the archive that is open is %s", w.Base, a.config.Base)
	}
	sol, err := a.universe.Solve(ctx, resolve.Request{Wishes: w.Packages})
	if err != nil {
		return ore.Environment{}, err
	}
	env := ore.Environment{
		Version: ore.EnvironmentVersion,
		Base:    ore.Base{Distribution: a.config.distribution(), Suite: w.Base.Suite},
		Arch:    Arch, Manual: sol.Manual, Packages: a.packages(sol),
	}
	for _, s := range a.sources {
		env.Sources = append(env.Sources, s.locked())
	}
	env.Sort()
	return env, nil
}

// Needs returns what the wishes need and nothing else: unlike in an
// environment, the base set is in it only as far as they need it. It is for
// programs that are run from their packages.
func (a *Archive) Needs(ctx context.Context, wishes ...ore.Wish) ([]ore.Package, error) {
	sol, err := a.universe.Solve(ctx, resolve.Request{Wishes: wishes, Bare: true})
	if err != nil {
		return nil, err
	}
	return a.packages(sol), nil
}

func (a *Archive) packages(sol resolve.Solution) []ore.Package {
	list := make([]ore.Package, 0, len(sol.Choices))
	for _, c := range sol.Choices {
		p := ore.Package{Name: c.Name, Version: c.Version, Arch: c.Arch, Path: c.Path,
			Size: c.Size, Digest: c.Digest, Base: c.Base}
		if s := a.sources[a.origins[c.Source]]; s.further {
			p.Archive = s.uri
		}
		list = append(list, p)
	}
	return list
}

// locked returns the source as an environment names it.
func (s opened) locked() ore.LockedSource {
	l := ore.LockedSource{Suite: s.suite, Components: s.present()}
	if s.further {
		l.URI, l.Key = s.uri, ore.DigestOf(s.key)
	}
	return l
}

// present returns the components that the suite has.
func (s opened) present() []string {
	var list []string
	for _, c := range s.components {
		if slices.ContainsFunc(s.state.Packed, func(p packed) bool { return p.Component == c && p.Digest != "" }) {
			list = append(list, c)
		}
	}
	return list
}
