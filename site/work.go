package site

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"ore"
	"ore/cluster"
	"ore/deb"
	"ore/image"
	"ore/image/export"
	"ore/install/kept"
	"ore/plan"
	"ore/rpm"
	"ore/site/ledger"
)

// unusedTool is how long a program on the shelf is kept that nobody asked for.
const unusedTool = 30 * 24 * time.Hour

// Build makes the image of a wish, or of the lock that the site is pinned to, or
// gives the one that exists.
func (s *Site) Build(ctx context.Context, w ore.Wants, watch ore.Watcher) (image.Manifest, error) {
	m := &images{site: s}
	env, err := m.Lock(ctx, w, watch)
	if err != nil {
		return image.Manifest{}, err
	}
	img, release, err := cluster.Anew(watch, func() (image.Manifest, func(), error) {
		return s.make(ctx, m, cluster.Make{Wants: w, Environment: env}, watch)
	})
	if err == nil {
		release()
	}
	return img, err
}

func (s *Site) make(ctx context.Context, m *images, mk cluster.Make, watch ore.Watcher) (img image.Manifest, release func(), err error) {
	if mk.Have, err = m.Have(ctx, mk.Environment); err != nil {
		return img, nil, err
	}
	ask := s.ask()
	ask.Environment = mk.Environment
	mk.Plan = plan.Choose(ask, mk.Have, s.Rates())
	err = s.learned(mk.Plan, watch, func(w ore.Watcher) error {
		img, release, err = m.Make(ctx, mk, w)
		return err
	})
	if err == nil && mk.Plan.Chosen().Way == plan.Exact {
		m.pushKept(ctx, img, watch)
	}
	return img, release, err
}

// KeptConfig is ClusterConfig for machines that outlive this process.
func (s *Site) KeptConfig(id string, watch ore.Watcher) cluster.Config {
	c := s.ClusterConfig(id, watch)
	c.Engine = &local{site: s, keep: true, watch: watch}
	return c
}

// Down ends kept machines and forgets them.
func (s *Site) Down(ctx context.Context, r ledger.Record) error {
	if s.State(r) == ledger.Running {
		n, err := s.Attach(r)
		if err != nil {
			return err
		}
		defer n.Close()
		end, err := s.Ending(r.ID)
		if err != nil {
			return err
		}
		defer end.Close()
		if err := n.Release(ctx); err != nil {
			return fmt.Errorf("end %s: %w", r.ID, err)
		}
		if err := end.Wait(ctx); err != nil {
			return fmt.Errorf("end %s: %w", r.ID, err)
		}
	}
	if _, err := s.Sweep(); err != nil {
		return err
	}
	return s.Forget(r)
}

// Verify reads all layers of an image and compares them with their digests, and
// asks whether it is trusted.
func (s *Site) Verify(ctx context.Context, key ore.Key) error {
	m, err := s.Cache.Find(ctx, key)
	if err != nil {
		return err
	}
	signed, err := s.Cache.Signature(ctx, key)
	if err == nil {
		err = s.Cache.Check(m, signed)
	}
	errs := []error{err}
	for _, l := range m.Layers {
		errs = append(errs, s.Cache.Verify(ctx, l.Digest))
	}
	return errors.Join(errs...)
}

// PruneBuilds removes what builds use again, until the rest has at most limit bytes, packages
// last. It returns the bytes that came free, with those of dead builds that Open removed.
func (s *Site) PruneBuilds(ctx context.Context, limit int64) (int64, error) {
	rpms, left, err := rpm.Prune(ctx, filepath.Join(s.Dirs.Cache, "rpm"), limit)
	freed, also := s.builder(nil, nil).Prune(ctx, filepath.Join(s.Dirs.Cache, "deb", "debs"), limit-left)
	if errors.Is(also, kept.ErrBusy) {
		also = nil // the next time will do
	}
	return rpms + freed.Bytes + s.cleared, errors.Join(err, also)
}

// PruneTrees removes the trees that builds keep of layers which are gone, and
// returns the bytes that came free.
func (s *Site) PruneTrees(ctx context.Context) (int64, error) {
	freed, err := kept.Below(s.builder(nil, nil).Dir).Orphans(ctx, func(layer ore.Digest) bool {
		_, err := s.Cache.Path(layer)
		return !errors.Is(err, image.ErrMissing)
	})
	if errors.Is(err, kept.ErrBusy) {
		return 0, nil // the next time will do: all that is there is looked at
	}
	return freed.Bytes, err
}

// PruneTools removes programs that nobody has used for long.
func (s *Site) PruneTools(ctx context.Context) error {
	sh, err := s.tools(ctx, nil)
	if err != nil {
		return err
	}
	return sh.Prune(ctx, unusedTool)
}

// Export writes an image for other programs.
func (s *Site) Export(ctx context.Context, m image.Manifest, to export.Target) error {
	return to.Write(ctx, s.Cache.Store, m)
}

// Archive returns the archive that has a wish's packages. It stays the site's.
func (s *Site) Archive(ctx context.Context, w ore.Wants) (*deb.Archive, error) {
	return s.archive(ctx, w, nil)
}

// Contents says where on this host the contents of files are.
func (s *Site) Contents(ctx context.Context, files []ore.File) (map[ore.Digest]string, error) {
	_, sources, err := s.lockFiles(ctx, files)
	return sources, err
}
