package cache

import (
	"context"
	"fmt"

	"ore"
	"ore/image"
)

// Build makes an image and registers it. What it tells is passed on to all who
// wait for the same image.
type Build func(ctx context.Context, tell ore.Watcher) (image.Manifest, error)

// Once is Share without progress.
func (c *Cache) Once(ctx context.Context, key ore.Key, build func(context.Context) (image.Manifest, error)) (image.Manifest, error) {
	return c.Share(ctx, key, nil, func(ctx context.Context, _ ore.Watcher) (image.Manifest, error) { return build(ctx) })
}

// Share returns the image of key, calling build if there is none. Among all
// callers in all processes one builds and the others wait; if the builder fails
// or dies, the next caller tries itself. While it waits, watch is told what the
// builder tells, whichever process that is in. One that nobody trusts is built
// anew.
func (c *Cache) Share(ctx context.Context, key ore.Key, watch ore.Watcher, build Build) (image.Manifest, error) {
	var m image.Manifest
	ready := func(ctx context.Context) (bool, error) {
		var err error
		m, err = c.Find(ctx, key)
		if image.Unusable(err) {
			return false, nil
		}
		return err == nil, err
	}
	built := false
	err := c.flights.Do(ctx, string(key), watch, ready, func(ctx context.Context, tell ore.Watcher) (err error) {
		built = true
		m, err = build(ctx, tell)
		return err
	})
	if err != nil && !built {
		err = fmt.Errorf("image %s: %w", key.Short(), err)
	}
	return m, err
}
