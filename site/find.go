package site

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ore"
	"ore/cache"
	"ore/cluster"
	"ore/image"
	"ore/plan"
	"ore/rpm"
	"ore/site/bound"
	"ore/site/calibrate"
	"ore/site/race"
	"ore/site/remote"
	"ore/site/weigh"
)

const (
	// maxCandidates is how many images of one cache the plan weighs. More are
	// hardly ever better: they come by what they save.
	maxCandidates = 4
	// patience bounds how long a cache is asked, whatever it was expected to save.
	patience = 3 * time.Second
)

// Have looks for images and packages that env could use, here and in the caches
// elsewhere.
func (m *images) Have(ctx context.Context, env ore.Environment) (plan.Have, error) {
	exact, err := m.exact(ctx, env)
	if err != nil || exact != nil {
		return plan.Have{Exact: exact}, err // nothing else can be better
	}
	return m.all(ctx, env)
}

// all is Have for who wants to know of all ways, also if the very image is here.
// No cache elsewhere is asked then: there is nothing that it could save.
func (m *images) all(ctx context.Context, env ore.Environment) (plan.Have, error) {
	if rpm.Is(env.Base) {
		return m.wholly(ctx, env)
	}
	have, err := m.here(ctx, env)
	if err != nil {
		return have, err
	}
	if have.Exact, err = m.exact(ctx, env); err != nil || have.Exact != nil {
		return have, err
	}
	if have, err = m.elsewhere(ctx, env, have); err != nil {
		return have, err
	}
	a, err := m.site.archive(ctx, m.wants, nil)
	if err != nil {
		return have, err
	}
	b := m.site.builder(nil, nil)
	have.Weights, err = weigh.Source{Builder: b.Dir, Options: b.Options, AtHand: a.AtHand}.Extras(ctx, have.Candidates, m.site.Rates())
	return have, err
}

// exact returns the image of env, nil if it is not here.
func (m *images) exact(ctx context.Context, env ore.Environment) (*image.Manifest, error) {
	found, err := m.site.Cache.Find(ctx, env.Key())
	if image.Unusable(err) {
		if !errors.Is(err, image.ErrMissing) {
			m.watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("the image here is left out: %v", err), Final: true})
		}
		return nil, nil
	}
	return &found, err
}

// here looks on this host for what env could be made from.
func (m *images) here(ctx context.Context, env ore.Environment) (plan.Have, error) {
	have := plan.Have{Debs: map[ore.Digest]bool{}}
	a, err := m.site.archive(ctx, m.wants, nil)
	if err != nil {
		return have, err
	}
	installed, err := m.site.installed(ctx, env)
	if err != nil {
		return have, err
	}
	have.Base, have.Packs, have.Steps = installed.Base != nil, installed.Packs, installed.Steps
	if installed.Base != nil {
		have.BaseLayer = *installed.Base
		if !installed.Tree {
			have.Restore = installed.Base.Size
		}
	}
	debs := a.AtHand(env.Packages)
	for d := range debs {
		have.Debs[d] = true
	}
	have.Candidates, err = m.candidates(ctx, env, debs, have.Restore)
	return have, err
}

// candidates returns the images here that env could be made from, or that will
// do as they are. debs are files of packages that are kept, restore is how much of
// the base has to be unpacked.
func (m *images) candidates(ctx context.Context, env ore.Environment, debs map[ore.Digest]string, restore int64) ([]plan.Candidate, error) {
	found, err := m.site.Cache.Candidates(ctx, env, maxCandidates)
	if err != nil {
		return nil, err
	}
	seen, err := m.site.rechecks().Seen()
	if err != nil {
		return nil, err
	}
	var all []plan.Candidate
	for _, c := range found {
		if c.Exact {
			continue
		}
		img, err := m.site.Cache.Find(ctx, c.Key)
		if image.Unusable(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.Superset() && c.SameFiles && c.SameSteps && c.SameSources && m.site.Superset && m.site.Pinned == nil {
			all = append(all, candidate(c, img, 0)) // whether what is too much can be removed is of no matter
			continue
		}
		why, err := m.site.builder(nil, nil).Usable(ctx, img, env, seen, debs)
		if err != nil {
			return nil, err
		}
		if why == "" {
			all = append(all, candidate(c, img, restore))
		}
	}
	return all, nil
}

// candidate is c, whose manifest is img, as the plan sees it. What lies over the
// base must be unpacked before anything is installed over it, beside restore.
func candidate(c cache.Candidate, img image.Manifest, restore int64) plan.Candidate {
	p := plan.Candidate{Restore: restore, Key: c.Key, Other: !c.Exact, Missing: c.Missing, Extra: c.Extra, Files: c.SameFiles, Steps: c.Ran}
	for i, l := range img.Layers {
		p.Layers = append(p.Layers, plan.Layer{Digest: l.Digest, Size: l.Size})
		if i > 0 {
			p.Restore += l.Size
		}
	}
	return p
}

// elsewhere asks the caches elsewhere, all at once. One that is down or slow
// costs no more than what it was expected to save, and is then left out.
func (m *images) elsewhere(ctx context.Context, env ore.Environment, have plan.Have) (plan.Have, error) {
	caches, err := m.site.caches()
	if err != nil || len(caches) == 0 {
		return have, err
	}
	found := make([][]plan.Candidate, len(caches))
	var asked sync.WaitGroup
	for i, c := range caches {
		limit := m.saving(env, have, c.Name)
		if limit <= 0 {
			have.Unasked = append(have.Unasked, c.Name)
			continue
		}
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			found[i] = m.ask(ctx, c, env, have)
		})
	}
	asked.Wait()
	have.Links = map[string]plan.LinkTry{}
	for i, f := range found {
		have.Candidates = append(have.Candidates, f...)
		if try, ok := caches[i].Try(); ok {
			have.Links[caches[i].Name] = try
		}
	}
	return have, ctx.Err()
}

// saving returns how much sooner the image would be here if the cache called
// name had it: what asking may cost.
func (m *images) saving(env ore.Environment, have plan.Have, name string) time.Duration {
	if m.every {
		return patience
	}
	share := m.site.Rates().Layer
	if share <= 0 {
		share = guessedShare
	}
	bytes := int64(share * float64(bound.Lacking(env, have)))
	have.Candidates = append(slices.Clip(have.Candidates), plan.Candidate{
		Key: env.Key(), At: name, Files: true, Steps: remote.Names(env.Steps), Layers: []plan.Layer{{Size: bytes, Fetch: bytes}},
	})
	b := m.bound(env, have, plan.Option{Way: plan.Fetched, From: env.Key(), At: name})
	if b.Saving <= 0 {
		return 0
	}
	return max(bound.Least, min(b.Saving, patience))
}

// bound returns what the option o, which begins with an image of a cache
// elsewhere, may take.
func (m *images) bound(env ore.Environment, have plan.Have, o plan.Option) bound.Bound {
	ask := m.site.ask()
	ask.Environment = env
	return bound.Of(ask, have, m.site.Rates().Assume(plan.Here, calibrate.Prior(o.At)), o)
}

// ask returns what c has of use for env. That it does not answer, or refuses, is
// told: nobody else would.
func (m *images) ask(ctx context.Context, c *remote.Cache, env ore.Environment, have plan.Have) []plan.Candidate {
	found, err := c.Candidates(ctx, env, have, maxCandidates)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		m.watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%s is left out: %v", c.Name, err), Final: true})
	}
	return found
}

// take gives an image that exists: one here with more than was asked, or one of
// a cache elsewhere, which may take as long as making it here is predicted to.
func (m *images) take(ctx context.Context, o plan.Option, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	if o.At == "" {
		img, err := m.site.Cache.Find(ctx, o.From)
		if err == nil {
			watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("cached, with %d packages more", len(img.Environment.Packages)-len(mk.Environment.Packages))})
		}
		return img, err
	}
	var img image.Manifest
	err := m.within(ctx, o, mk, func(ctx context.Context, c *remote.Cache) (err error) {
		img, err = m.pull(ctx, c, o.From, watch)
		return err
	})
	return img, err
}

// within calls fetch with the cache that o begins with, as long as that is worth
// it.
func (m *images) within(ctx context.Context, o plan.Option, mk cluster.Make, fetch func(context.Context, *remote.Cache) error) error {
	caches, err := m.site.caches()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(caches, func(c *remote.Cache) bool { return c.Name == o.At })
	if i < 0 {
		return fmt.Errorf("cache %s: not one of this site", o.At)
	}
	watched, stop := m.bound(mk.Environment, mk.Have, o).Watch(ctx, caches[i].Received)
	defer stop()
	err = fetch(watched, caches[i])
	if err != nil && ctx.Err() == nil && context.Cause(watched) != nil {
		err = fmt.Errorf("cache %s: %w", o.At, context.Cause(watched))
	}
	return err
}

// bring fetches what o begins with from a cache elsewhere: the base's image, and
// one over it. What does not come is told, and the build goes on with what is
// here.
func (m *images) bring(ctx context.Context, o plan.Option, mk cluster.Make, watch ore.Watcher) error {
	err := m.within(ctx, o, mk, func(ctx context.Context, c *remote.Cache) error {
		if !mk.Have.Base {
			base, err := m.pull(ctx, c, mk.Environment.BaseOnly().Key(), watch)
			if err != nil {
				return err
			}
			if err := m.site.builder(nil, nil).Adopt(ctx, base); err != nil {
				return err
			}
		}
		if o.Way != plan.Partial {
			return nil
		}
		_, err := m.pull(ctx, c, o.From, watch)
		return err
	})
	if err != nil && ctx.Err() == nil {
		watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: it is built without", err), Final: true})
		return nil
	}
	return err
}

// pull fetches an image and lists it here.
func (m *images) pull(ctx context.Context, c *remote.Cache, key ore.Key, watch ore.Watcher) (image.Manifest, error) {
	found, err := c.Find(ctx, key, nil)
	if err != nil {
		return image.Manifest{}, err
	}
	img := found.Manifest
	space, err := remote.Room(ctx, m.site.Cache, img)
	if err != nil {
		return image.Manifest{}, err
	}
	defer space.Release()
	near, err := m.relatives(ctx, img.Environment)
	if err != nil {
		return image.Manifest{}, err
	}
	watch.Tell(ore.Event{Stage: plan.Pull, Text: "from " + c.Name, Total: img.Size()})
	begun := time.Now()
	came, err := c.Fetch(ctx, img, near)
	if err != nil {
		return image.Manifest{}, err
	}
	watch.Tell(ore.Event{
		Stage: plan.Pull, Text: fmt.Sprintf("%.1f of %.1f MB from %s", float64(came)/1e6, float64(img.Size())/1e6, c.Name),
		Done: img.Size(), Total: img.Size(), Final: true,
	})
	_, err = m.site.Cache.RegisterSigned(ctx, img, found.Signature, time.Since(begun))
	return img, err
}

// relatives are images here that share most with env: what a layer has in
// common with theirs need not be fetched.
func (m *images) relatives(ctx context.Context, env ore.Environment) ([]image.Manifest, error) {
	candidates, err := m.site.Cache.Candidates(ctx, env, maxCandidates)
	var near []image.Manifest
	for _, c := range candidates {
		if found, err := m.site.Cache.Find(ctx, c.Key); err == nil {
			near = append(near, found)
		}
	}
	return near, err
}

// shared has one client of all that share a cache build key, if there is a cache
// that is given what is built here; the others fetch it from there. They wait no
// longer than building alone is predicted to take.
func (m *images) shared(ctx context.Context, mk cluster.Make, watch ore.Watcher, build cache.Build) (img image.Manifest, err error) {
	caches, err := m.site.caches()
	if err != nil {
		return img, err
	}
	i := slices.IndexFunc(caches, func(c *remote.Cache) bool { return c.Push })
	if i < 0 {
		return build(ctx, watch)
	}
	key, begun := mk.Environment.Key(), false
	waiting, patience := race.Wait(ctx, bound.Alone(mk.Plan), errSlow)
	defer patience.End()
	ours, err := caches[i].Share(waiting, key, watch, func(_ context.Context, tell ore.Watcher) (err error) {
		begun = true
		patience.Over()
		img, err = build(ctx, tell)
		return err
	})
	switch {
	case err == nil && ours:
		return img, nil
	case err == nil:
		return m.pull(ctx, caches[i], key, watch)
	case begun || ctx.Err() != nil:
		return img, err
	case context.Cause(waiting) != nil:
		err = fmt.Errorf("%s: %w", caches[i].Name, context.Cause(waiting))
	}
	watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: it is built without that cache", err), Final: true})
	return build(ctx, watch)
}

// errSlow is why another host's build is not waited for any more.
var errSlow = errors.New("another host builds it, which takes longer than building it here")

// push sends an image to the caches that are given what is built here; one that
// was here before (kept) only to those that lack it. One that cannot take it is
// told, and costs the job nothing else.
func (m *images) push(ctx context.Context, img image.Manifest, took time.Duration, kept bool, watch ore.Watcher) {
	caches, err := m.site.caches()
	if err != nil {
		return // it was told when they were asked
	}
	all := []image.Manifest{img}
	if base := img.Environment.BaseOnly().Key(); base != img.Key {
		// The next one may ask for something else over the same base.
		if found, err := m.site.Cache.Find(ctx, base); err == nil {
			all = append(all, found)
		}
	}
	for _, c := range caches {
		if !c.Push {
			continue
		}
		if kept {
			there, err := has(ctx, c, img.Key)
			if err != nil {
				watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: the image is only here", err)})
			}
			if there || err != nil {
				continue
			}
		}
		watch.Tell(ore.Event{Stage: "push", Text: "to " + c.Name})
		if err := m.offer(ctx, c, all, took); err != nil {
			watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: the image is only here", err), Final: true})
			continue
		}
		watch.Tell(ore.Event{Stage: "push", Text: "to " + c.Name, Final: true})
	}
}

// pushKept is push for an image that was here before.
func (m *images) pushKept(ctx context.Context, img image.Manifest, watch ore.Watcher) {
	if !slices.ContainsFunc(m.site.Caches, func(a remote.Address) bool { return a.Push }) {
		return
	}
	if e, err := m.site.Cache.Match(ctx, string(img.Key)); err == nil { // else it was just removed
		m.push(ctx, img, e.BuildTime, true, watch)
	}
}

// has says whether a cache has the image of key. It waits for one that is down no
// longer than questions do.
func has(ctx context.Context, c *remote.Cache, key ore.Key) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := c.Find(ctx, key, nil)
	if errors.Is(err, image.ErrMissing) {
		return false, nil
	}
	return err == nil, err
}

// offer gives a cache images that it lacks.
func (m *images) offer(ctx context.Context, c *remote.Cache, all []image.Manifest, took time.Duration) error {
	for n, img := range all {
		if n > 0 { // the first is known to be lacking
			if _, err := c.Find(ctx, img.Key, &all[0]); !errors.Is(err, image.ErrMissing) {
				return err
			}
		}
		i := remote.Image{Manifest: img}
		var err error
		if i.Signature, err = m.site.Cache.Signature(ctx, img.Key); err != nil {
			return err
		}
		if err := c.Give(ctx, i, took); err != nil {
			return err
		}
	}
	return nil
}

// caches opens the caches elsewhere at the first call.
func (s *Site) caches() ([]*remote.Cache, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.elsewhere != nil || len(s.Caches) == 0 {
		return s.elsewhere, nil
	}
	local := remote.Local{Store: s.Cache.Store, Dir: filepath.Join(s.Dirs.Cache, "caches"), Check: s.Cache.Check}
	for _, a := range s.Caches {
		c, err := remote.Open(a, local)
		if err != nil {
			return nil, err
		}
		s.elsewhere = append(s.elsewhere, c)
	}
	return s.elsewhere, nil
}
