package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"ore"
	"ore/image"
)

// Build makes an image and registers it. What it tells is passed on to all who
// wait for the same image.
type Build func(ctx context.Context, tell ore.Watcher) (image.Manifest, error)

// flights are the keys that goroutines of this process build or wait for: only
// one of them at a time asks for a key's lock file.
type flights struct {
	mu  sync.Mutex // guards all
	all map[ore.Key]*flight
}

type flight struct {
	turn  chan struct{} // holds one value while somebody has the turn
	users int
}

// join returns the flight of key; leave must be called afterwards.
func (f *flights) join(key ore.Key) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[ore.Key]*flight{}
	}
	if f.all[key] == nil {
		f.all[key] = &flight{turn: make(chan struct{}, 1)}
	}
	f.all[key].users++
	return f.all[key]
}

func (f *flights) leave(key ore.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all[key].users--; f.all[key].users == 0 {
		delete(f.all, key)
	}
}

// Once is Share without progress.
func (c *Cache) Once(ctx context.Context, key ore.Key, build func(context.Context) (image.Manifest, error)) (image.Manifest, error) {
	return c.Share(ctx, key, nil, func(ctx context.Context, _ ore.Watcher) (image.Manifest, error) { return build(ctx) })
}

// Share returns the image of key, calling build if there is none. Among all
// callers in all processes one builds and the others wait; if the builder fails
// or dies, the next caller tries itself. While it waits, watch is told what the
// builder tells, whichever process that is in.
func (c *Cache) Share(ctx context.Context, key ore.Key, watch ore.Watcher, build Build) (image.Manifest, error) {
	m, done, err := c.ready(ctx, key)
	if done {
		return m, err
	}
	f := c.flights.join(key)
	defer c.flights.leave(key)
	p := &progress{path: filepath.Join(c.dir, "locks", string(key)+".progress"), watch: watch}
	if err := p.wait(ctx, f.turn); err != nil {
		return m, fmt.Errorf("build image %s: %w", key.Short(), err)
	}
	defer func() { <-f.turn }()
	// Whoever had the turn before has most likely made it.
	if m, done, err = c.ready(ctx, key); done {
		return m, err
	}
	path := filepath.Join(c.dir, "locks", string(key))
	held, err := lock(ctx, path, p.look)
	if err != nil {
		return m, fmt.Errorf("build image %s: %w", key.Short(), err)
	}
	defer held.Close()
	defer os.Remove(path) // while the lock is held, see tryLock
	if m, done, err = c.ready(ctx, key); done {
		return m, err
	}
	if err := p.begin(); err != nil {
		return m, fmt.Errorf("build image %s: %w", key.Short(), err)
	}
	defer p.end()
	return build(ctx, p.tell)
}

// ready looks for the image of key; done says that nothing is to be built. One
// that nobody trusts is built anew.
func (c *Cache) ready(ctx context.Context, key ore.Key) (m image.Manifest, done bool, err error) {
	m, err = c.Find(ctx, key)
	for _, build := range []error{image.ErrMissing, image.ErrUntrusted, image.ErrForged} {
		if errors.Is(err, build) {
			return m, false, nil
		}
	}
	return m, true, err
}
