package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"ore/cache/serve/wire"
	"ore/image"
	"ore/plan"
)

// Trying a link, a cache is asked a small thing so often, and then sends for so long,
// once it has begun, as a person who calibrates waits for. One that has not ended by
// slowest is busy with something else, and says nothing of its link.
const (
	questions = 4
	longest   = time.Second
	slowest   = 10 * time.Second
)

// Calibrate tries the link to the cache: how long a small question takes, and how much
// of its largest image comes in a second. A layer that did not come whole is kept as
// that of any fetch, for the next one. There is nothing to try, and ok is false, where
// the cache has no image, and with a registry, which lists none.
func (c *Cache) Calibrate(ctx context.Context, scratch string) (try plan.LinkTry, ok bool, err error) {
	if c.client == nil {
		return try, false, nil
	}
	try, ok, err = c.calibrate(ctx, scratch)
	if err != nil {
		return try, false, fmt.Errorf("calibrate link to %s: %w", c.Name, err)
	}
	return try, ok, nil
}

func (c *Cache) calibrate(ctx context.Context, scratch string) (try plan.LinkTry, ok bool, err error) {
	all, err := c.client.Images(ctx)
	if err != nil || len(all) == 0 {
		return try, false, err
	}
	begun := time.Now()
	for range questions {
		if err := c.client.Healthy(ctx); err != nil {
			return try, false, err
		}
	}
	try.Request = time.Since(begun).Seconds() / questions
	slices.SortStableFunc(all, func(a, b wire.Listed) int { return cmp.Compare(b.Bytes, a.Bytes) })
	found, err := c.client.Find(ctx, all[0].Key, nil)
	if err != nil {
		return try, false, err
	}
	dir, err := os.MkdirTemp(scratch, "calibrate-")
	if err != nil {
		return try, false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := image.OpenStore(dir)
	if err != nil {
		return try, false, err
	}
	limited, cancel := context.WithTimeout(ctx, slowest)
	defer cancel()
	c.asked.begin(time.Now(), func() { time.AfterFunc(longest, cancel) })
	if _, err = c.client.Fetch(limited, found.Manifest, store, nil); err != nil && limited.Err() == nil {
		return try, false, err
	}
	try.Rate, ok = c.asked.rate()
	return try, ok, ctx.Err()
}
