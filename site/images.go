package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ore"
	"ore/cluster"
	"ore/deb"
	"ore/image"
	"ore/install"
	"ore/job"
	"ore/plan"
)

// images makes environments and images on this host.
type images struct {
	site  *Site
	wants ore.Wants // what Lock was asked, for the archive that it came from
}

var _ cluster.Images = (*images)(nil)

// Lock resolves w.
func (m *images) Lock(ctx context.Context, w ore.Wants, watch ore.Watcher) (ore.Environment, error) {
	m.wants = w
	a, err := m.site.archive(ctx, w, watch)
	if err != nil {
		return ore.Environment{}, err
	}
	if l := m.site.Pinned; l != nil {
		return l.Environment, a.Check(l.Environment)
	}
	env, err := a.Resolve(ctx, w)
	if err != nil {
		return env, err
	}
	env.Files, _, err = lockFiles(ctx, m.site.Cache.Store, w.Files)
	if err != nil {
		return env, err
	}
	env.Steps, err = job.SortSteps(w.Steps)
	if err != nil {
		return env, err
	}
	env.Sort()
	watch.Tell(ore.Event{Stage: "resolve", Text: fmt.Sprintf("%d packages, %s", len(env.Packages), env.Base)})
	return env, nil
}

// Have looks for images and packages that env could use.
func (m *images) Have(ctx context.Context, env ore.Environment) (plan.Have, error) {
	have := plan.Have{Debs: map[ore.Digest]bool{}}
	find := func(e ore.Environment) (*image.Manifest, error) {
		found, err := m.site.Cache.Find(ctx, e.Key())
		if errors.Is(err, image.ErrMissing) {
			return nil, nil
		}
		return &found, err
	}
	var err error
	if have.Exact, err = find(env); err != nil || have.Exact != nil {
		return have, err // nothing else can be better
	}
	a, err := m.site.archive(ctx, m.wants, nil)
	if err != nil {
		return have, err
	}
	installed, err := m.site.builder(nil, nil).Have(env)
	if err != nil {
		return have, err
	}
	have.Base, have.Packs = installed.Base, installed.Packs
	for _, p := range env.Packages {
		have.Debs[p.Digest] = a.Kept(p)
	}
	return have, nil
}

// Make builds what the plan says, or gives the image that exists.
func (m *images) Make(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	if mk.Have.Exact != nil {
		watch.Tell(ore.Event{Stage: "image", Text: "cached"})
		return *mk.Have.Exact, m.site.Cache.Touch(ctx, mk.Have.Exact.Key)
	}
	return m.site.Cache.Once(ctx, mk.Environment.Key(), func(ctx context.Context) (image.Manifest, error) {
		begun := time.Now()
		img, err := m.build(ctx, mk, watch)
		if err != nil {
			return img, err
		}
		_, err = m.site.Cache.Register(ctx, img, time.Since(begun))
		return img, err
	})
}

// build fetches what is missing and installs. The base's image is registered
// too, so that the next environment of its suite begins there.
func (m *images) build(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	a, err := m.site.archive(ctx, mk.Wants, watch)
	if err != nil {
		return image.Manifest{}, err
	}
	_, sources, err := lockFiles(ctx, m.site.Cache.Store, mk.Wants.Files)
	if err != nil {
		return image.Manifest{}, err
	}
	m.addKept(mk.Environment.Files, sources)
	if err := a.FetchAll(ctx, mk.Plan.Chosen().Install, watch); err != nil {
		return image.Manifest{}, err
	}
	b := m.site.builder(a, watch)
	if b.Tier, err = m.site.tier(ctx); err != nil {
		return image.Manifest{}, err
	}
	return b.Build(ctx, install.Request{Environment: mk.Environment, Files: sources, Keys: keys(mk.Wants)})
}

// addKept finds the contents that stood in a job file in the store, where the
// lock of that job kept them.
func (m *images) addKept(files []ore.LockedFile, sources map[ore.Digest]string) {
	for _, f := range files {
		if f.Digest == "" || sources[f.Digest] != "" {
			continue
		}
		if p, err := m.site.Cache.Path(f.Digest); err == nil {
			if _, err := os.Stat(p); err == nil {
				sources[f.Digest] = p
			}
		}
	}
}

func keys(w ore.Wants) map[ore.Digest][]byte {
	all := map[ore.Digest][]byte{}
	for _, r := range w.Repositories {
		all[ore.DigestOf(r.Key)] = r.Key
	}
	return all
}

// builder returns the builder of this site's images, but for the tier of its
// sandbox, which only a build needs.
func (s *Site) builder(f deb.Fetcher, watch ore.Watcher) *install.Builder {
	return &install.Builder{
		Dir: filepath.Join(s.Dirs.Cache, "install"), Store: s.Cache.Store, Debs: f,
		Args: []string{InstallCommand}, Watch: watch,
	}
}

// InstallCommand is the hidden subcommand that runs install.Worker.
const InstallCommand = "install-worker"
