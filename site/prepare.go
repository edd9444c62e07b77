package site

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"ore"
	"ore/image"
	"ore/install"
	"ore/site/afterwards"
	"ore/site/ahead"
	"ore/site/learn"
	"ore/site/recheck"
)

// Prepared is where it is noted what was prepared.
func (s *Site) Prepared() ahead.Book {
	return ahead.Book{Path: filepath.Join(s.Dirs.State, "prepared.jsonl")}
}

// Ahead returns what prepares this site's images before they are asked for.
func (s *Site) Ahead(watch ore.Watcher) *ahead.Maker {
	return &ahead.Maker{
		Cache: s.Cache, Book: s.Prepared(), Watch: watch,
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

// Fold merges the layers of full images at once; see package afterwards.
func (s *Site) Fold(ctx context.Context) (int, error) { return afterwards.Fold(ctx, s.Cache) }

// Afterwards does what was put off, as soon as the host is idle.
func (s *Site) Afterwards(ctx context.Context) (int, error) {
	return afterwards.Work(ctx, s.Cache, idle, s.turn)
}

// turn prepares images, where that is set.
func (s *Site) turn(ctx context.Context) error {
	if s.Budget <= 0 {
		return nil
	}
	return s.Ahead(nil).Turn(ctx, s.Budget)
}

// later has the layers of an image folded when the host is idle, if it is full, and
// images prepared if it is time for that.
func (s *Site) later(img image.Manifest, watch ore.Watcher) {
	full := afterwards.Full(img)
	if s.Later == nil || !full && (s.Budget <= 0 || !s.Prepared().Due(time.Now())) {
		return
	}
	if !full {
		_ = s.Later() // the next job tries again
		return
	}
	text := fmt.Sprintf("the image's %d layers are folded when the host is idle", len(img.Layers))
	if err := s.Later(); err != nil {
		text = err.Error() // the next one who meets the image tries again
	}
	watch.Tell(ore.Event{Stage: "note", Text: text, Final: true})
}

// seconds returns f seconds.
func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
