package afterwards

import (
	"context"
	"errors"
	"fmt"

	"ore/cache"
	"ore/image"
	"ore/install/fold"
	"ore/squashfs"
)

// Full says whether an image has as many layers as it may, so that no other can
// be built upon it.
func Full(m image.Manifest) bool { return len(m.Layers) >= image.MaxLayers }

// Fold merges the layers of images that have as many as an image may, so that
// others can be built upon them; each is switched at once, and jobs that have the
// old layers go on with them. It returns how many images were folded. What it has
// folded stays so, whenever it ends.
func Fold(ctx context.Context, c *cache.Cache) (int, error) {
	return folder{cache: c, idle: func() bool { return true }}.all(ctx)
}

// folder folds the images of a cache, as long as the host is idle.
type folder struct {
	cache *cache.Cache
	idle  func() bool
}

func (f folder) all(ctx context.Context) (int, error) {
	all, err := f.cache.List(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range all {
		if !f.idle() {
			return n, errBusy
		}
		done, err := f.one(ctx, e)
		if err != nil {
			return n, err
		}
		if done {
			n++
		}
	}
	return n, nil
}

// one folds the image of e if it is there, may be used and is full.
func (f folder) one(ctx context.Context, e cache.Entry) (bool, error) {
	img, release, err := f.cache.Acquire(ctx, e.Key)
	if image.Unusable(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer release()
	if !Full(img) {
		return false, nil
	}
	space, err := f.cache.Spare(ctx, img.Size(), "folding image "+img.Key.Short())
	if errors.Is(err, cache.ErrNoSpace) {
		return false, nil // it is as good with many layers, and others are not evicted for it
	}
	if err != nil {
		return false, err
	}
	defer space.Release()
	folded, err := fold.Fold(ctx, f.cache.Store, img, squashfs.Options{})
	if err != nil {
		return false, err
	}
	if _, err := f.cache.RegisterOf(ctx, folded, img, e.BuildTime); err != nil {
		return false, fmt.Errorf("fold image %s: %w", img.Key.Short(), err)
	}
	return true, nil
}
