package site

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"ore"
	"ore/image"
	"ore/install"
	"ore/install/fold"
	"ore/site/ahead"
	"ore/site/learn"
	"ore/site/recheck"
	"ore/squashfs"
)

// Prepared is where it is noted what was prepared.
func (s *Site) Prepared() ahead.Book {
	return ahead.Book{Path: filepath.Join(s.Dirs.State, "prepared.jsonl")}
}

// Ahead returns what prepares this site's images before they are asked for.
func (s *Site) Ahead(watch ore.Watcher) *ahead.Maker {
	return &ahead.Maker{
		Cache: s.Cache, Watch: watch,
		Resolve: func(ctx context.Context, w ore.Wants) (ore.Environment, error) {
			return (&images{site: s}).Lock(ctx, w, nil)
		},
		Build: func(ctx context.Context, w ore.Wants, tell ore.Watcher) (image.Manifest, error) {
			return s.Build(ctx, w, tell)
		},
		Idle: idle,
	}
}

// rechecks is where images are noted that were built from other ones.
func (s *Site) rechecks() recheck.Book { return recheck.Book{Dir: s.Dirs.State} }

// Rechecker returns what compares images that were built from other ones with
// the same from nothing.
func (s *Site) Rechecker(watch ore.Watcher) *recheck.Checker {
	return &recheck.Checker{
		Book: s.rechecks(), Cache: s.Cache, Idle: idle,
		Build: func(ctx context.Context, env ore.Environment) (image.Manifest, error) {
			a, err := s.archive(ctx, ore.Wants{Base: env.Base}, watch)
			if err != nil {
				return image.Manifest{}, err
			}
			b := s.builder(a, watch)
			if b.Tier, err = s.tier(ctx); err != nil {
				return image.Manifest{}, err
			}
			return b.Build(ctx, install.Request{Environment: env})
		},
	}
}

// idle says whether half of the cores are free. The other half may be others': a
// build leaves the rest to jobs, and a job that begins meanwhile has the
// scheduler's even share at least.
func idle() bool { return learn.OthersLoad() < float64(runtime.NumCPU())/2 }

// Fold merges the layers of images that have as many as an image may, so that
// others can be built upon them; each is switched at once, and jobs that have the old layers go on
// with them. It returns how many images were folded.
func (s *Site) Fold(ctx context.Context) (int, error) {
	all, err := s.Cache.List(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range all {
		img, release, err := s.Cache.Acquire(ctx, e.Key)
		if image.Unusable(err) {
			continue
		}
		if err != nil {
			return n, err
		}
		if len(img.Layers) >= image.MaxLayers {
			if err := s.fold(ctx, img, e.BuildTime); err != nil {
				release()
				return n, err
			}
			n++
		}
		release()
	}
	return n, nil
}

func (s *Site) fold(ctx context.Context, img image.Manifest, took time.Duration) error {
	folded, err := fold.Fold(ctx, s.Cache.Store, img, squashfs.Options{})
	if err != nil {
		return fmt.Errorf("fold image %s: %w", img.Key.Short(), err)
	}
	_, err = s.Cache.Register(ctx, folded, took)
	return err
}

// seconds returns f seconds.
func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
