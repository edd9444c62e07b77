package site

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ore"
	"ore/cache"
	"ore/cluster"
	"ore/deb"
	"ore/image"
	"ore/install"
	"ore/install/exact"
	"ore/job"
	"ore/plan"
	"ore/rpm"
	"ore/site/given"
)

// images makes environments and images on this host.
type images struct {
	site  *Site
	wants ore.Wants   // what Lock was asked, for the archive that it came from
	watch ore.Watcher // is told of caches elsewhere that fail
	every bool        // caches are asked whatever they may save, since it is the plan that is wanted
}

var _ cluster.Images = (*images)(nil)

// Lock resolves w.
func (m *images) Lock(ctx context.Context, w ore.Wants, watch ore.Watcher) (ore.Environment, error) {
	m.wants, m.watch = w, watch
	if m.site.Pinned != nil {
		return m.site.pinned(ctx, w, watch)
	}
	env, err := m.site.resolve(ctx, w, watch)
	if err != nil {
		return env, err
	}
	env.Files, _, err = m.site.lockFiles(ctx, w.Files)
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

// Make gives the image by the plan's way, and notes the request: what is asked
// for again is kept, and prepared. What has rotted is put away by that.
func (m *images) Make(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, func(), error) {
	begun := time.Now()
	img, err := m.give(ctx, mk, watch)
	if err != nil {
		return img, nil, err
	}
	img, release, err := m.site.Cache.Acquire(ctx, img.Key)
	if errors.Is(err, image.ErrMissing) {
		return img, nil, fmt.Errorf("image %s: %w", mk.Environment.Key().Short(), cluster.ErrGone)
	}
	if err != nil {
		return img, nil, err
	}
	chosen := mk.Plan.Chosen()
	r := cache.Request{Wish: cache.WishOf(mk.Environment), Key: img.Key, Kind: string(chosen.Way), From: chosen.From, Spent: time.Since(begun)}
	for _, o := range mk.Plan.Options {
		if o.Way == plan.Clean && o.Known {
			r.Saved = max(0, seconds(o.Total.Middle)-r.Spent)
		}
	}
	if err := m.site.Cache.Note(ctx, r); err != nil {
		release()
		return img, nil, err
	}
	_ = m.site.Prepared().Remember(mk.Environment) // what is not remembered is not made ahead
	m.site.later(img, watch)
	return img, release, nil
}

// give gives the image. A way that fails over a link is given up for what can be
// made here.
func (m *images) give(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	switch c := mk.Plan.Chosen(); c.Way {
	case plan.Exact:
		watch.Tell(ore.Event{Stage: "image", Text: "cached"})
		return *mk.Have.Exact, nil // Make sees whether it is whole
	case plan.Superset:
		img, err := m.take(ctx, c, mk, watch)
		if err == nil || ctx.Err() != nil {
			return img, err
		}
		watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("%v: it is built", err)})
	}
	return m.site.Cache.Share(ctx, mk.Environment.Key(), watch, func(ctx context.Context, tell ore.Watcher) (image.Manifest, error) {
		return m.makeBy(ctx, mk, tell)
	})
}

// register builds the image and lists it, here and in the caches that are given
// what is built.
func (m *images) register(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	return m.shared(ctx, mk, watch, func(ctx context.Context, tell ore.Watcher) (image.Manifest, error) {
		space, err := m.reserve(ctx, mk)
		if err != nil {
			return image.Manifest{}, err
		}
		defer space.Release()
		begun := time.Now()
		img, err := m.build(ctx, mk, tell)
		if err != nil {
			return img, err
		}
		took := time.Since(begun)
		if img, err = m.site.Cache.Register(ctx, img, took); err != nil {
			return img, err
		}
		m.push(ctx, img, took, false, tell)
		return img, nil
	})
}

// guessedShare is how many bytes a layer has for each byte of .debs, until this
// site has seen it: both are compressed, one for size and one for speed.
const guessedShare = 1.6

// reserve makes sure that the layers of a build will find room, before anything
// is fetched for them.
func (m *images) reserve(ctx context.Context, mk cluster.Make) (*cache.Reservation, error) {
	var debs int64
	for _, p := range mk.Plan.Chosen().Install {
		debs += p.Size
	}
	share := m.site.Rates().Layer
	if share <= 0 {
		share = guessedShare
	}
	return m.site.Cache.Reserve(ctx, int64(share*float64(debs)), "the image of "+mk.Environment.Key().Short())
}

// build fetches what is missing and installs. The base's image is registered
// too, so that the next environment of its suite begins there.
func (m *images) build(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	_, sources, err := m.site.lockFiles(ctx, mk.Wants.Files)
	if err != nil {
		return image.Manifest{}, err
	}
	given.AddKept(m.site.Cache.Store, mk.Environment.Files, sources)
	r := install.Request{Environment: mk.Environment, Files: sources, Keys: keys(mk.Wants), Based: m.based(ctx, mk, time.Now(), watch)}
	if rpm.Is(mk.Environment.Base) {
		return m.buildRPM(ctx, mk, r, watch)
	}
	a, err := m.site.archive(ctx, mk.Wants, watch)
	if err != nil {
		return image.Manifest{}, err
	}
	c := mk.Plan.Chosen()
	based := c.Way == plan.Partial || c.Way == plan.Delta // a base is there
	if based && c.At != "" {
		if err := m.bring(ctx, c, mk, watch); err != nil {
			return image.Manifest{}, err
		}
	}
	fetch := func(ctx context.Context) error { return a.FetchAll(ctx, c.Install, watch) }
	if based {
		r.Fetch = fetch
	} else if err := fetch(ctx); err != nil {
		return image.Manifest{}, err
	}
	b := m.site.builder(a, watch)
	if b.Tier, err = m.site.tier(ctx); err != nil {
		return image.Manifest{}, err
	}
	r.Based = m.based(ctx, mk, time.Now(), watch) // what was fetched before is no part of its price
	if c.Way == plan.Partial {
		from, release, err := m.site.Cache.Acquire(ctx, c.From)
		if err != nil && !image.Unusable(err) {
			return image.Manifest{}, err
		}
		if err == nil {
			defer release()
			r.From = &from
		}
		r.Started = func(relied exact.Memory) {
			if err := m.site.rechecks().Note(mk.Environment, relied); err != nil && m.site.Log != nil {
				m.site.Log.Warn("an image is not compared later", "error", err)
			}
		}
		if r.Seen, err = m.site.rechecks().Seen(); err != nil {
			return image.Manifest{}, err
		}
	}
	return b.Build(ctx, r)
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
