package disks

import (
	"context"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/diskimage"
)

// Make has the cache list the disk image of a tree that it has, unless it does: of
// all who want it at once, one makes it. It returns its key, and whether this call
// made it. What it takes room from are the least valuable images.
func Make(ctx context.Context, c *cache.Cache, tree image.Manifest, shape diskimage.Shape, watch ore.Watcher) (key ore.Key, made bool, err error) {
	return source{tree, shape}.make(ctx, c, c.Reserve, watch)
}

// source is what a disk image is made of.
type source struct {
	tree  image.Manifest
	shape diskimage.Shape
}

// reserve is [cache.Cache.Reserve], or Spare.
type reserve func(ctx context.Context, bytes int64, what string) (*cache.Reservation, error)

// make is Make, with the room that it gets.
func (s source) make(ctx context.Context, c *cache.Cache, room reserve, watch ore.Watcher) (key ore.Key, made bool, err error) {
	tree, shape := s.tree, s.shape
	key = diskimage.Environment(tree.Key, shape).Key()
	_, err = c.Share(ctx, key, watch, func(ctx context.Context, tell ore.Watcher) (image.Manifest, error) {
		made = true
		// Both the file system and the layer take less than the tree does, but for what
		// file systems keep books with.
		space, err := room(ctx, 2*tree.Bytes, "the disk image of "+tree.Key.Short())
		if err != nil {
			return image.Manifest{}, err
		}
		defer space.Release()
		begun := time.Now()
		img, err := diskimage.Make(ctx, c.Store, tree, shape, tell)
		if err != nil {
			return img, err
		}
		return c.RegisterOf(ctx, img, tree, time.Since(begun))
	})
	return key, made, err
}
