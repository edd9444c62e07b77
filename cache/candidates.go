package cache

import (
	"context"
	"errors"
	"fmt"

	"ore"
	"ore/cache/catalog"
	"ore/cache/index"
)

// Candidate is an image from which an environment could be made, and how it
// differs.
type Candidate = catalog.Candidate

// Candidates returns the images that have most in common with env: first the
// one with its key, then the best by the cache's rank, at most max in all. A
// package is common if its name, version, architecture and digest are. The
// order of packages or layers is of no matter.
//
// Candidates are images with neither files nor steps, and images with the very
// packages and files of env that have run some of its steps. What an image is
// worth that has nothing in common is nothing: such are left out.
func (c *Cache) Candidates(ctx context.Context, env ore.Environment, max int) ([]Candidate, error) {
	all, err := c.candidates(ctx, env, max)
	if err != nil {
		return nil, fmt.Errorf("candidates for %s: %w", env.Key().Short(), err)
	}
	return all, nil
}

func (c *Cache) candidates(ctx context.Context, env ore.Environment, max int) ([]Candidate, error) {
	// What is listed and what the question alone says are found at once.
	asked := make(chan *catalog.Ask, 1)
	go func() { asked <- catalog.NewAsk(env) }()
	k, err := c.refresh(ctx)
	a := <-asked
	if err != nil {
		return nil, err
	}
	all, err := k.catalog.Candidates(a, c.config.Rank, max)
	if errors.Is(err, index.ErrDamaged) {
		if k, err = c.withoutIndex(ctx); err == nil {
			all, err = k.catalog.Candidates(a, c.config.Rank, max)
		}
	}
	return all, err
}
