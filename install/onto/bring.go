package onto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"ore"
	"ore/image"
	"ore/install"
	"ore/install/pour/blob"
	"ore/squashfs"
)

// Bring gets all that the recipe names by digest: the layers of the image that is
// started from, and the contents of the environment's files. What is there
// already is not asked for again.
func Bring(ctx context.Context, o Options) error {
	if err := o.bring(ctx); err != nil {
		return fmt.Errorf("bring image: %w", err)
	}
	return nil
}

// toldStep is how many bytes are told of at once.
const toldStep = 1 << 20

func (o *Options) bring(ctx context.Context) error {
	store, err := o.store()
	if err != nil {
		return err
	}
	var missing []blob.Blob
	var total, done, said int64
	for _, d := range o.needed() {
		if _, err := store.Path(d); !errors.Is(err, image.ErrMissing) {
			if err != nil {
				return err
			}
			continue
		}
		source := o.Recipe.Blobs[d]
		missing = append(missing, blob.Blob{Digest: d, Size: source.Size, From: source.From})
		total += source.Size
	}
	tell := func(n int64) {
		if done += n; done-said < toldStep {
			return
		}
		said = done
		o.Watch.Tell(ore.Event{Stage: "blobs", Done: done, Total: total})
	}
	for _, b := range missing {
		s := o.Client.Open(ctx, b, 0, b.Size)
		err := store.PutStream(ctx, b.Digest, told{s, tell})
		if s.Close(); err != nil {
			return fmt.Errorf("%w, from %v", err, s.Used())
		}
	}
	if len(missing) > 0 {
		o.Watch.Tell(ore.Event{Stage: "blobs", Done: done, Total: total, Final: true})
	}
	return nil
}

// told tells how much is read.
type told struct {
	io.Reader
	tell func(int64)
}

// Read implements io.Reader.
func (t told) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	t.tell(int64(n))
	return n, err
}

// needed lists the blobs that the recipe needs, each once.
func (o *Options) needed() []ore.Digest {
	var list []ore.Digest
	if m := o.Recipe.Image; m != nil {
		for _, l := range m.Layers {
			list = append(list, l.Digest)
		}
	}
	for _, f := range o.Recipe.Environment.Files {
		if f.Digest != "" {
			list = append(list, f.Digest)
		}
	}
	for _, s := range o.Recipe.Environment.Sources {
		if s.Key != "" {
			list = append(list, s.Key)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// contents returns where the contents of the environment's files are, and its
// certificates.
func (o *Options) contents(store *image.Store) (map[ore.Digest]string, map[ore.Digest][]byte, error) {
	files, keys := map[ore.Digest]string{}, map[ore.Digest][]byte{}
	for _, f := range o.Recipe.Environment.Files {
		if f.Digest == "" {
			continue
		}
		var err error
		if files[f.Digest], err = store.Path(f.Digest); err != nil {
			return nil, nil, err
		}
	}
	for _, s := range o.Recipe.Environment.Sources {
		if s.Key == "" {
			continue
		}
		name, err := store.Path(s.Key)
		if err == nil {
			keys[s.Key], err = os.ReadFile(name)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return files, keys, nil
}

// adopt makes the builder know the base of the image that is started from, and
// returns that image if it has more.
func (o *Options) adopt(ctx context.Context, b *install.Builder) (*image.Manifest, error) {
	m := o.Recipe.Image
	if m == nil || m.Environment.BaseOnly().Key() != o.Recipe.Environment.BaseOnly().Key() {
		if m != nil {
			o.Watch.Tell(ore.Event{Stage: "blobs", Text: "the image has another base: all packages are installed"})
		}
		return nil, nil
	}
	if len(m.Layers) == 1 && m.Key == m.Environment.BaseOnly().Key() {
		return nil, b.Adopt(ctx, *m)
	}
	base, err := baseOf(b.Store, *m)
	if err != nil {
		return nil, err
	}
	return m, b.Adopt(ctx, base)
}

// baseOf returns the image of the base that an image lies over: its first layer
// alone, with the capabilities of files that no other layer has.
func baseOf(store *image.Store, m image.Manifest) (image.Manifest, error) {
	env := m.Environment.BaseOnly()
	base := image.Manifest{Version: m.Version, Environment: env, Key: env.Key(), Layers: m.Layers[:1]}
	covered := map[string]bool{}
	for _, l := range m.Layers[1:] {
		if err := cover(store, l, m.Capabilities, covered); err != nil {
			return base, fmt.Errorf("layer %s: %w", l.Digest.Short(), err)
		}
	}
	for _, c := range m.Capabilities {
		if !covered[c.Path] {
			base.Capabilities = append(base.Capabilities, c)
		}
	}
	return base, nil
}

// cover notes which of the files a layer has.
func cover(store *image.Store, l image.Layer, list []image.Capability, covered map[string]bool) error {
	name, err := store.Path(l.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := squashfs.NewReader(f, l.Size)
	if err != nil {
		return err
	}
	for _, c := range list {
		switch _, err := r.Lookup(c.Path); {
		case err == nil:
			covered[c.Path] = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}
