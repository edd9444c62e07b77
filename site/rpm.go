package site

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"ore"
	"ore/cluster"
	"ore/deb"
	"ore/image"
	"ore/install"
	"ore/plan"
	"ore/rpm"
	"ore/rpm/tools"
	"ore/site/given"
	"ore/site/inputs"
)

// RPMCommand is the hidden subcommand that runs rpm.Worker.
const RPMCommand = "rpm-worker"

// rpms returns what makes environments of RPM packages here.
func (s *Site) rpms(ctx context.Context, watch ore.Watcher) (*rpm.Maker, error) {
	tier, err := s.tier(ctx)
	return &rpm.Maker{
		Dir: filepath.Join(s.Dirs.Cache, "rpm"), Store: s.Cache.Store, Tier: tier, Args: []string{RPMCommand}, Watch: watch,
		Tools: func(ctx context.Context) (*deb.Archive, error) {
			return s.archive(ctx, ore.Wants{Base: ore.Base{Distribution: "debian", Suite: tools.Suite}}, watch)
		},
	}, err
}

// resolve closes a wish under dependencies.
func (s *Site) resolve(ctx context.Context, w ore.Wants, watch ore.Watcher) (ore.Environment, error) {
	if rpm.Is(w.Base) {
		m, err := s.rpms(ctx, watch)
		if err != nil {
			return ore.Environment{}, err
		}
		return m.Resolve(ctx, w)
	}
	a, err := s.archive(ctx, w, watch)
	if err != nil {
		return ore.Environment{}, err
	}
	return a.Resolve(ctx, w)
}

// pinned returns the environment of the lock that the site is pinned to.
func (s *Site) pinned(ctx context.Context, w ore.Wants, watch ore.Watcher) (ore.Environment, error) {
	if rpm.Is(w.Base) {
		return s.Pinned.Environment, nil // whether its packages can be had, fetching them shows
	}
	a, err := s.archive(ctx, w, watch)
	if err != nil {
		return ore.Environment{}, err
	}
	return s.Pinned.Environment, a.Check(s.Pinned.Environment)
}

// fetchAll fetches the packages of env.
func (s *Site) fetchAll(ctx context.Context, w ore.Wants, env ore.Environment, watch ore.Watcher) error {
	if rpm.Is(env.Base) {
		m, err := s.rpms(ctx, watch)
		if err != nil {
			return err
		}
		return m.Fetch(ctx, env)
	}
	a, err := s.archive(ctx, w, watch)
	if err != nil {
		return err
	}
	return a.FetchAll(ctx, env.Packages, watch)
}

// wholly is Have for an environment of RPM packages: only its very image is of use,
// here or in a cache elsewhere.
func (m *images) wholly(ctx context.Context, env ore.Environment) (plan.Have, error) {
	exact, err := m.exact(ctx, env)
	if err != nil || exact != nil {
		return plan.Have{Exact: exact}, err
	}
	have, err := m.elsewhere(ctx, env, plan.Have{})
	have.Candidates = slices.DeleteFunc(have.Candidates, func(c plan.Candidate) bool { return c.Key != env.Key() })
	return have, err
}

// buildRPM is build for an environment of RPM packages.
func (m *images) buildRPM(ctx context.Context, mk cluster.Make, r install.Request, watch ore.Watcher) (image.Manifest, error) {
	maker, err := m.site.rpms(ctx, watch)
	if err != nil {
		return image.Manifest{}, err
	}
	b := m.site.builder(nil, watch)
	b.Tier = maker.Tier
	return maker.Image(ctx, b, r, mk.Wants.Repositories)
}

// based lists the image of the base that a build of mk makes, unless it is what is
// asked for.
func (m *images) based(ctx context.Context, mk cluster.Make, begun time.Time, watch ore.Watcher) func(image.Manifest) {
	return func(base image.Manifest) {
		if base.Key == mk.Environment.Key() {
			return
		}
		if _, err := m.site.Cache.Register(ctx, base, time.Since(begun)); err != nil {
			watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("the base is not listed: %v", err)})
		}
	}
}

// lockFiles names the files of a wish by their content, and says where that is.
func (s *Site) lockFiles(ctx context.Context, files []ore.File) ([]ore.LockedFile, map[ore.Digest]string, error) {
	return given.Lock(ctx, s.Cache.Store, inputs.MemoOf(s.inputsDir()), files)
}
