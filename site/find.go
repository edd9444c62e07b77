package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ore"
	"ore/cache"
	"ore/cluster"
	"ore/image"
	"ore/install/exact"
	"ore/plan"
	"ore/site/remote"
)

const (
	// maxCandidates is how many images of one cache the plan weighs. More are
	// hardly ever better: they come by what they save.
	maxCandidates = 4
	// patience bounds how long a cache is asked that this site knows nothing of
	// yet, and after what was expected to be saved is not known.
	patience = 3 * time.Second
	// leastPatience is what asking a near and busy cache may take in any case.
	leastPatience = 100 * time.Millisecond
)

// Have looks for images and packages that env could use, here and in the caches
// elsewhere.
func (m *images) Have(ctx context.Context, env ore.Environment) (plan.Have, error) {
	have, err := m.here(ctx, env)
	if err != nil || have.Exact != nil {
		return have, err // nothing else can be better
	}
	return m.elsewhere(ctx, env, have)
}

// here looks on this host.
func (m *images) here(ctx context.Context, env ore.Environment) (plan.Have, error) {
	have := plan.Have{Debs: map[ore.Digest]bool{}}
	found, err := m.site.Cache.Find(ctx, env.Key())
	switch {
	case err == nil:
		have.Exact = &found
		return have, nil
	case !errors.Is(err, image.ErrMissing):
		return have, err
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
	have.Candidates, err = m.candidates(ctx, env)
	return have, err
}

// candidates returns the images here that env could be made from, or that will
// do as they are.
func (m *images) candidates(ctx context.Context, env ore.Environment) ([]plan.Candidate, error) {
	found, err := m.site.Cache.Candidates(ctx, env, maxCandidates)
	if err != nil {
		return nil, err
	}
	seen, err := m.site.seen()
	if err != nil {
		return nil, err
	}
	var all []plan.Candidate
	for _, c := range found {
		img, err := m.site.Cache.Find(ctx, c.Entry.Key)
		if errors.Is(err, image.ErrMissing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.Superset() && c.SameFiles && c.SameSteps && c.SameSources && m.site.Superset && m.site.Pinned == nil {
			all = append(all, candidate(c, img)) // whether what is too much can be removed is of no matter
			continue
		}
		why, err := m.site.builder(nil, nil).Usable(ctx, img, env, seen)
		if err != nil {
			return nil, err
		}
		if why == "" {
			all = append(all, candidate(c, img))
		}
	}
	return all, nil
}

// candidate is c, whose manifest is img, as the plan sees it. What lies over the
// base must be unpacked before anything is installed over it.
func candidate(c cache.Candidate, img image.Manifest) plan.Candidate {
	p := plan.Candidate{Key: c.Entry.Key, Missing: c.Missing, Extra: c.Extra, Files: c.SameFiles, Steps: c.Ran}
	for i, l := range img.Layers {
		p.Layers = append(p.Layers, plan.Layer{Digest: l.Digest, Size: l.Size})
		if i > 0 {
			p.Restore += l.Size
		}
	}
	return p
}

// seen returns what this site has seen of packages that come and go.
func (s *Site) seen() (exact.Memory, error) {
	b, err := os.ReadFile(s.seenPath())
	if errors.Is(err, fs.ErrNotExist) {
		return exact.Memory{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was seen of packages: %w", err)
	}
	m, err := exact.ReadMemory(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: delete it", s.seenPath(), err)
	}
	return m, nil
}

func (s *Site) seenPath() string { return filepath.Join(s.Dirs.State, "packages.txt") }

// elsewhere asks the caches elsewhere, all at once. One that is down or slow
// costs no more than what it was expected to save, and is then left out.
func (m *images) elsewhere(ctx context.Context, env ore.Environment, have plan.Have) (plan.Have, error) {
	caches, err := m.site.caches()
	if err != nil || len(caches) == 0 {
		return have, err
	}
	found := make([]*plan.Candidate, len(caches))
	var asked sync.WaitGroup
	for i, c := range caches {
		limit := m.saving(env, have, c.Name)
		if limit <= 0 {
			continue
		}
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			found[i] = m.ask(ctx, c, env)
		})
	}
	asked.Wait()
	for _, f := range found {
		if f != nil {
			have.Candidates = append(have.Candidates, *f)
		}
	}
	return have, ctx.Err()
}

// saving returns how much sooner the image would be here if the cache called
// name had it: what asking may cost.
func (m *images) saving(env ore.Environment, have plan.Have, name string) time.Duration {
	rates := m.site.Rates()
	ask := m.site.ask()
	ask.Environment = env
	without := plan.Choose(ask, have, rates).Chosen()
	var debs int64
	for _, p := range env.Packages {
		debs += p.Size
	}
	bytes := int64(rates.Layer * float64(debs))
	have.Candidates = append(slices.Clip(have.Candidates), plan.Candidate{
		Key: env.Key(), At: name, Files: true, Steps: stepNames(env), Layers: []plan.Layer{{Size: bytes, Fetch: bytes}},
	})
	for _, o := range plan.Choose(ask, have, rates).Options {
		if o.At != name || !o.Possible {
			continue
		}
		if !o.Known || !without.Known || bytes == 0 {
			return patience
		}
		saved := seconds(without.Total.High - o.Total.Low)
		if saved <= 0 {
			return 0
		}
		return max(leastPatience, min(saved, patience))
	}
	return patience
}

func stepNames(env ore.Environment) []string {
	names := make([]string, len(env.Steps))
	for i, s := range env.Steps {
		names[i] = s.Name
	}
	return names
}

// ask returns the image of env in c, nil if c has none or does not answer.
func (m *images) ask(ctx context.Context, c *remote.Cache, env ore.Environment) *plan.Candidate {
	found, err := c.Find(ctx, env.Key(), nil)
	if err != nil {
		if !errors.Is(err, image.ErrMissing) && m.site.Log != nil {
			m.site.Log.Warn("cache is left out", "cache", c.Name, "error", err)
		}
		return nil
	}
	p := &plan.Candidate{Key: env.Key(), At: c.Name, Files: true, Steps: stepNames(env)}
	for _, l := range found.Manifest.Layers {
		layer := plan.Layer{Digest: l.Digest, Size: l.Size}
		if _, err := m.site.Cache.Path(l.Digest); err != nil {
			layer.Fetch = l.Size
		}
		p.Layers = append(p.Layers, layer)
	}
	return p
}

// take gives an image that exists: one here with more than was asked, or one of
// a cache elsewhere, which may take as long as making it here is predicted to.
func (m *images) take(ctx context.Context, o plan.Option, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	if o.At == "" {
		img, err := m.site.Cache.Find(ctx, o.From)
		if err == nil {
			watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("cached, with %d packages more", len(o.Remove))})
		}
		return img, err
	}
	caches, err := m.site.caches()
	if err != nil {
		return image.Manifest{}, err
	}
	i := slices.IndexFunc(caches, func(c *remote.Cache) bool { return c.Name == o.At })
	if i < 0 {
		return image.Manifest{}, fmt.Errorf("cache %s: not one of this site", o.At)
	}
	if limit := instead(mk.Plan); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("slower than making it here, which takes %.1f s", limit.Seconds()))
		defer cancel()
	}
	img, err := m.pull(ctx, caches[i], o.From, watch)
	if err != nil && context.Cause(ctx) != nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return img, err
}

// instead returns how long the best way that needs no cache elsewhere is
// predicted to take at most; 0 if that is not known.
func instead(p plan.Plan) time.Duration {
	for _, o := range p.Options {
		if o.Possible && o.At == "" && o.Known {
			return seconds(o.Total.High)
		}
	}
	return 0
}

// pull fetches an image and lists it here.
func (m *images) pull(ctx context.Context, c *remote.Cache, key ore.Key, watch ore.Watcher) (image.Manifest, error) {
	found, err := c.Find(ctx, key, nil)
	if err != nil {
		return image.Manifest{}, err
	}
	img := found.Manifest
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
		if found, err := m.site.Cache.Find(ctx, c.Entry.Key); err == nil {
			near = append(near, found)
		}
	}
	return near, err
}

// shared has one client of all that share a cache build key, if there is a cache
// that is given what is built here; the others fetch it from there.
func (m *images) shared(ctx context.Context, key ore.Key, watch ore.Watcher, build cache.Build) (img image.Manifest, err error) {
	caches, err := m.site.caches()
	if err != nil {
		return img, err
	}
	i := slices.IndexFunc(caches, func(c *remote.Cache) bool { return c.Push })
	if i < 0 {
		return build(ctx, watch)
	}
	begun := false
	ours, err := caches[i].Share(ctx, key, watch, func(ctx context.Context, tell ore.Watcher) (err error) {
		begun = true
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
	}
	watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("%v: it is built without that cache", err)})
	return build(ctx, watch)
}

// push sends an image to the caches that are given what is built here. One that
// cannot take it is told, and costs the job nothing else.
func (m *images) push(ctx context.Context, img image.Manifest, took time.Duration, watch ore.Watcher) {
	caches, err := m.site.caches()
	if err != nil {
		return // it was told when they were asked
	}
	for _, c := range caches {
		if !c.Push {
			continue
		}
		i := remote.Image{Manifest: img}
		if m.site.Signer != nil {
			i.Signature = m.site.Signer.Sign(img)
		}
		if err := c.Give(ctx, i, took); err != nil {
			watch.Tell(ore.Event{Stage: "push", Text: fmt.Sprintf("%v: the image is only here", err), Final: true})
			continue
		}
		watch.Tell(ore.Event{Stage: "push", Text: "to " + c.Name, Final: true})
	}
}

// caches opens the caches elsewhere at the first call.
func (s *Site) caches() ([]*remote.Cache, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.elsewhere != nil || len(s.Caches) == 0 {
		return s.elsewhere, nil
	}
	local := remote.Local{Store: s.Cache.Store, Dir: filepath.Join(s.Dirs.Cache, "caches")}
	if s.Trusted != nil {
		local.Check = s.Trusted.Verify
	}
	for _, a := range s.Caches {
		c, err := remote.Open(a, local)
		if err != nil {
			return nil, err
		}
		s.elsewhere = append(s.elsewhere, c)
	}
	return s.elsewhere, nil
}
