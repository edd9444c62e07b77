// Package onto installs an environment's packages on the machine that they are
// for: from nothing, over the base's image, or over one that has some of them.
//
// It is the same builder as on a host ([ore/install.Builder]), so the tree is the
// same to the last bit: the same phases, scripts in the same sandbox, the same
// normalising, files and steps. Only where it works is different: in a folder of
// the machine's own file system, from which the finished tree is moved to its
// place, file by file, and not copied. No layers are made, unless somebody asks
// for the image.
//
// [Bring] gets the image that the recipe starts from, [Install] does the rest.
// When Install has failed, the tree is not to be used, but the folder [Folder]
// has what was fetched and decoded, and what steps did that succeeded: called
// again, it does none of that again. When it has ended well, the folder is gone.
package onto

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ore"
	"ore/deb/fetch"
	"ore/image"
	"ore/install"
	"ore/install/capture"
	"ore/install/pour/blob"
	"ore/install/recipe"
	"ore/install/sandbox"
	"ore/squashfs"
)

// Folder is where the work is done, below the target.
const Folder = ".ore-install"

// Options say what is installed, and where.
type Options struct {
	Target string // where the machine's file systems are mounted
	Recipe recipe.Recipe
	Args   []string // arguments with which the own executable calls install.Worker

	// Save, if not nil, is given the image of what was installed, whose new layers
	// are in the store, once the tree is in its place. The store goes when Save
	// returns. That nothing can be saved, or that there is no room for layers, is
	// told as an event of the stage [capture.Stage], and costs the machine nothing.
	Save func(ctx context.Context, m image.Manifest, s *image.Store) error

	Client blob.Client   // for blobs
	Fetch  *fetch.Client // for packages; nil means one of our own
	Watch  ore.Watcher   // stages "blobs" and "fetch", in bytes, and those of the builder
}

// Install makes the tree of the recipe's environment in the target, as root, and
// returns its manifest, without layers unless they were saved.
func Install(ctx context.Context, o Options) (image.Manifest, error) {
	m, err := o.install(ctx)
	if err != nil && o.Save != nil && ctx.Err() == nil && errors.Is(err, image.ErrFull) {
		o.unsaved(err)
		o.Save = nil
		m, err = o.install(ctx)
	}
	switch {
	case errors.Is(err, image.ErrFull): // of the machine's, and this says which of its file systems
		return m, fmt.Errorf("install packages in %s: %w", o.path(""), err)
	case err != nil:
		return m, fmt.Errorf("install packages: %w", err)
	}
	return m, nil
}

// unsaved tells why there will be no image.
func (o *Options) unsaved(err error) {
	o.Watch.Tell(ore.Event{Stage: capture.Stage, Text: fmt.Sprintf("no image is kept: %v", err), Final: true})
}

func (o *Options) install(ctx context.Context) (m image.Manifest, err error) {
	if err := o.bring(ctx); err != nil {
		return m, err
	}
	store, err := o.store()
	if err != nil {
		return m, err
	}
	debs := &archive{dir: o.path("debs"), from: o.Recipe.Archive, client: o.Fetch, watch: o.Watch}
	if debs.client == nil {
		debs.client = fetch.New()
		defer debs.client.CloseIdle()
	}
	if err := os.MkdirAll(debs.dir, 0o755); err != nil {
		return m, err
	}
	b := &install.Builder{
		Dir: o.path("build"), Store: store, Debs: debs, Tier: sandbox.Root, Args: o.Args,
		Options: options(o.Save != nil), Watch: o.Watch,
	}
	r := install.Request{Environment: o.Recipe.Environment, Into: filepath.Clean(o.Target), Unsealed: o.Save == nil}
	if r.Files, r.Keys, err = o.contents(store); err != nil {
		return m, err
	}
	if r.From, err = o.adopt(ctx, b); err != nil {
		return m, err
	}
	if m, err = b.Build(ctx, r); err != nil {
		return m, err
	}
	if o.Save != nil {
		if err := o.Save(ctx, m, store); err != nil && ctx.Err() == nil {
			o.unsaved(err)
		}
		err = ctx.Err()
	}
	return m, errors.Join(err, sandbox.Remove(context.WithoutCancel(ctx), o.path("")))
}

// options are those of the layers, and of packages as they are kept while the
// build goes on. Where nothing is kept later, what takes the least time is best.
func options(save bool) squashfs.Options {
	if save {
		return squashfs.Options{}
	}
	return squashfs.Options{Compression: squashfs.LZ4}
}

func (o *Options) path(name string) string { return filepath.Join(o.Target, Folder, name) }

// store opens the store of the blobs that are needed.
func (o *Options) store() (*image.Store, error) {
	if err := os.MkdirAll(o.path(""), 0o700); err != nil {
		return nil, err
	}
	return image.OpenStore(o.path("store"))
}
