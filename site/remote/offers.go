package remote

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/image"
	"ore/install/exact"
	"ore/plan"
)

// offer is an image in a cache that is of use for an environment: the very image,
// that of its base set, or one from which it may be made.
type offer struct {
	key            ore.Key
	whole, base    bool // it is that of the environment, or of its base set
	missing, extra []ore.Package
	files          bool     // it has the environment's files
	ran            []string // steps of the environment that it has run
	layers         []image.Layer
}

// adopting is how often a base that comes from elsewhere is read: to prove that
// it is the base, and to unpack it.
const adopting = 2

// Candidates returns what the cache has of use for env and have has not: the
// very image alone if it has that, else that of its base set, and images from
// which it may be made by their packages, most at most.
func (c *Cache) Candidates(ctx context.Context, env ore.Environment, have plan.Have, most int) ([]plan.Candidate, error) {
	c.asked.begin(time.Now(), nil)
	offers, err := c.offers(ctx, env, most)
	based := have.Base || slices.ContainsFunc(offers, func(o offer) bool { return o.base })
	var all []plan.Candidate
	for _, o := range offers {
		here := slices.ContainsFunc(have.Candidates, func(p plan.Candidate) bool { return p.Key == o.key })
		if o.base && have.Base || !o.whole && !based || here {
			continue
		}
		all = append(all, c.candidate(o, env, have))
	}
	return all, err
}

// candidate is an offer as the plan sees it.
func (c *Cache) candidate(o offer, env ore.Environment, have plan.Have) plan.Candidate {
	p := plan.Candidate{Key: o.key, At: c.Name, Base: o.base, Other: !o.whole, Missing: o.missing, Extra: o.extra, Files: o.files, Steps: o.ran}
	share := 1.0
	if c.client != nil { // a registry sends whole layers
		share = fresh(o, env, have)
	}
	for i, l := range o.layers {
		layer := plan.Layer{Digest: l.Digest, Size: l.Size}
		if _, err := c.local.Store.Path(l.Digest); err != nil {
			layer.Fetch = l.Size
			if i > 0 {
				layer.Fetch = toFetch(l.Size, share)
			}
		}
		p.Layers = append(p.Layers, layer)
		switch {
		case o.whole: // nothing is put over it
		case i > 0:
			p.Restore += l.Size
		case !have.Base:
			p.Restore += adopting * l.Size
		default:
			p.Restore += have.Restore
		}
	}
	return p
}

// offers returns what the cache has of use for env: the very image alone if it
// has that, else that of its base set, and the most images from which it may be
// made by their packages, the best first. A registry is asked for keys only.
func (c *Cache) offers(ctx context.Context, env ore.Environment, most int) ([]offer, error) {
	found, err := c.Find(ctx, env.Key(), nil)
	if err == nil {
		return []offer{{key: env.Key(), whole: true, files: true, ran: Names(env.Steps), layers: found.Manifest.Layers}}, nil
	}
	if !errors.Is(err, image.ErrMissing) {
		return nil, err
	}
	var base, near []offer
	var g errgroup.Group // one is of use without the other
	g.Go(func() (err error) {
		base, err = c.base(ctx, env)
		return err
	})
	g.Go(func() (err error) {
		near, err = c.near(ctx, env, most)
		return err
	})
	err = g.Wait()
	return append(base, near...), err
}

// base returns the image of env's base set, if the cache has it and env is more.
func (c *Cache) base(ctx context.Context, env ore.Environment) ([]offer, error) {
	only := env.BaseOnly()
	if only.Key() == env.Key() {
		return nil, nil
	}
	found, err := c.Find(ctx, only.Key(), nil)
	if errors.Is(err, image.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := offer{key: only.Key(), base: true, files: len(env.Files) == 0, layers: found.Manifest.Layers}
	for _, p := range env.Packages {
		if !p.Base {
			o.missing = append(o.missing, p)
		}
	}
	return []offer{o}, nil
}

// near returns images over env's base that hold packages of it and nothing that
// packages cannot be put over, or that have its packages and files and some of its steps.
func (c *Cache) near(ctx context.Context, env ore.Environment, most int) ([]offer, error) {
	if c.client == nil {
		return nil, nil
	}
	found, err := c.client.Candidates(ctx, env, most)
	if err != nil {
		return nil, err
	}
	base := env.BaseOnly().Key()
	var all []offer
	for _, f := range found {
		if len(f.Ran) > 0 || f.SameFiles && len(env.Files) > 0 {
			if c.further(ctx, f.Key, env) {
				all = append(all, offer{key: f.Key, files: true, ran: f.Ran, layers: f.Layers})
			}
			continue
		}
		full := len(f.Layers)+1+min(1, len(env.Files))+min(1, len(env.Steps)) > image.MaxLayers
		if full || !f.SameSources || len(f.Layers) < 2 || f.Layers[0].Key != base {
			continue
		}
		all = append(all, offer{key: f.Key, missing: f.Missing, extra: f.Extra, files: f.SameFiles, layers: f.Layers})
	}
	return all, nil
}

// further tells whether env's other steps can go on upon an image, which its manifest
// says. Of one that cannot be asked for more nothing is made.
func (c *Cache) further(ctx context.Context, key ore.Key, env ore.Environment) bool {
	found, err := c.Find(ctx, key, nil)
	return err == nil && exact.Alike(found.Manifest, env) == ""
}

// Names returns the steps' names.
func Names(steps []ore.Step) []string {
	all := make([]string, len(steps))
	for i, s := range steps {
		all[i] = s.Name
	}
	return all
}
