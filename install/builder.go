package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb"
	"ore/image"
	"ore/install/exact"
	"ore/install/kept"
	"ore/install/pack"
	"ore/install/sandbox"
	"ore/install/wire"
	"ore/install/workplace"
	"ore/squashfs"
)

// Builder makes images. It may be used by several goroutines and processes at
// once: what they share appears whole.
type Builder struct {
	Dir     string           // packs, trees and unfinished builds; all of it may be deleted when no build runs
	Store   *image.Store     // takes the layers
	Debs    deb.Fetcher      // brings verified .debs
	Tier    sandbox.Tier     // the way to be root in a tree
	Args    []string         // arguments with which the own executable calls Worker
	Options squashfs.Options // of the layers; Jobs is not used
	Watch   ore.Watcher      // stages "fetch", "restore", "unpack", "configure", "seal", "files", "steps"
}

// Request is what one build is made from beside the packages.
type Request struct {
	Environment ore.Environment
	Files       map[ore.Digest]string // host paths of the environment's files, by their content
	Keys        map[ore.Digest][]byte // certificates of the further repositories
	From        *image.Manifest       // an image to start from, nil for none: see Usable
	Seen        exact.Memory          // what this site has seen of packages that come or go
	Try         bool                  // start from From although packages are not known, to compare
	Into        string                // a folder on the file system of Dir that gets the tree as plain files, in tier root; "" for none
	Unsealed    bool                  // make no layers: the manifest has none, and what Into gets is all

	// Fetch, if not nil, brings the packages before they are asked for one by one. It
	// runs beside the start of the sandbox.
	Fetch func(ctx context.Context) error
	// Based, if not nil, is called with the image of the base if the build has made
	// that, too, and its layer is in the store.
	Based func(image.Manifest)
	// Started, if not nil, is called when the build has started from From and
	// ended well, with what it relied on: true, or else Broken, when its tree has
	// been compared with that of a build from the base.
	Started func(exact.Memory)
}

// fetchLimit is how many .debs are asked for at once; a fetcher has limits of
// its own towards mirrors.
const fetchLimit = 8

// Build makes the layers of an environment, puts them into the store and
// returns the manifest. A base layer that an earlier build made is used again.
func (b *Builder) Build(ctx context.Context, r Request) (image.Manifest, error) {
	m, err := b.build(ctx, r)
	var no *refusal
	if errors.As(err, &no) && !r.Try {
		b.Watch.Tell(ore.Event{Stage: "refuse", Text: no.why})
		r.From = nil
		m, err = b.build(ctx, r)
	}
	if err != nil {
		return image.Manifest{}, fmt.Errorf("build %s: %w", r.Environment.Key().Short(), image.Full(err))
	}
	return m, nil
}

func (b *Builder) build(ctx context.Context, r Request) (image.Manifest, error) {
	if r.Into != "" && b.Tier != sandbox.Root {
		return image.Manifest{}, fmt.Errorf("plain files in %s: only root gives them their owners", r.Into)
	}
	p, err := b.places(r.Environment)
	if err != nil {
		return image.Manifest{}, err
	}
	release, err := kept.Use(b.kept().Lock)
	if err != nil {
		return image.Manifest{}, err
	}
	defer release()
	known, err := p.base.Find(b.Store)
	if err != nil {
		return image.Manifest{}, err
	}
	from, err := b.startFrom(r, p, known != nil)
	if err != nil {
		return image.Manifest{}, err
	}
	needed := func(q ore.Package) bool {
		return !(q.Base && known != nil || from != nil && exact.Has(from.Packages, q))
	}
	work, err := workplace.Open(ctx, p.work)
	if err != nil {
		return image.Manifest{}, err
	}
	defer work.Remove()
	o := wire.Order{
		Environment: r.Environment, Packs: p.packs, Compiled: p.compiled, Work: work.Dir, Tree: p.tree,
		Nodes: p.base.Nodes, Options: b.Options, Files: r.Files, Keys: r.Keys, From: from,
		Into: r.Into, Unsealed: r.Unsealed,
	}
	if known != nil {
		if o.Base, err = b.Store.Path(known.Digest); err != nil {
			return image.Manifest{}, err
		}
	}
	if b.Tier == sandbox.Single {
		o.Owners = filepath.Join(work.Dir, "owners")
		if err := kept.Join(filepath.Dir(p.tree), o.Owners); err != nil {
			return image.Manifest{}, err
		}
	}
	u := &run{builder: b, order: o, place: p, based: r.Based, layers: map[int]image.Layer{}}
	if known != nil {
		u.layers[0] = *known
	}
	if from != nil {
		for i, l := range r.From.Layers[1:] {
			u.layers[i+1] = l
		}
	}
	err = u.do(ctx, func(ctx context.Context) ([]string, error) { return b.bring(ctx, r, p, needed) })
	if err != nil {
		return image.Manifest{}, err
	}
	if from != nil && r.Started != nil {
		r.Started(u.tried)
	}
	return u.manifest(), nil
}

// Adopt takes the base whose image m is, and whose layer the store has, as one
// that was made here: builds go on from it.
func (b *Builder) Adopt(ctx context.Context, m image.Manifest) error {
	p, err := b.places(m.Environment)
	if err != nil {
		return err
	}
	release, err := kept.Use(b.kept().Lock)
	if err != nil {
		return err
	}
	defer release()
	return p.base.Adopt(ctx, b.Store, m, p.work)
}

// bring brings the .debs and looks whether the build can start from where it is to.
func (b *Builder) bring(ctx context.Context, r Request, p places, needed func(ore.Package) bool) ([]string, error) {
	if r.Fetch != nil {
		if err := r.Fetch(ctx); err != nil {
			return nil, err
		}
	}
	debs, err := b.fetch(ctx, r.Environment, p, needed)
	if err != nil {
		return nil, err
	}
	return debs, b.refuse(ctx, r, p, debs)
}

// fetch brings the .debs that are needed and have no pack.
func (b *Builder) fetch(ctx context.Context, env ore.Environment, p places, needed func(ore.Package) bool) ([]string, error) {
	packs, err := pack.Open(p.packs, b.Options, nil)
	if err != nil {
		return nil, err
	}
	debs := make([]string, len(env.Packages))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchLimit)
	for i, pkg := range env.Packages {
		if !needed(pkg) || packs.Has(pkg.Digest) {
			continue
		}
		g.Go(func() error {
			var err error
			debs[i], err = b.Debs.Fetch(ctx, pkg)
			return err
		})
	}
	return debs, g.Wait()
}
