package site

import (
	"context"
	"path/filepath"

	"ore"
	"ore/deb"
	"ore/deb/shelf"
	"ore/job"
)

// toolBase is the suite that tools and other kernels than User Mode Linux come
// from: the host's own, so that one set serves all jobs, whatever suites they
// ask for.
func toolBase() ore.Base {
	suite := deb.HostSuite()
	if suite == "" {
		suite = job.DefaultSuite
	}
	return ore.Base{Distribution: "debian", Suite: suite}
}

// tools returns the shelf, opening it and its archive at the first call.
func (s *Site) tools(ctx context.Context, watch ore.Watcher) (*shelf.Shelf, error) {
	s.shelving.Lock()
	defer s.shelving.Unlock()
	if s.shelf != nil {
		return s.shelf, nil
	}
	a, err := s.archive(ctx, ore.Wants{Base: toolBase()}, watch)
	if err != nil {
		return nil, err
	}
	s.shelf, err = s.shelfOf(a.Offer(), func(context.Context) (*deb.Archive, error) { return a, nil })
	return s.shelf, err
}

// shelfOf opens the shelf for packages of an archive, which is opened when
// something is asked for that is not on the shelf yet.
func (s *Site) shelfOf(offer ore.Digest, open func(context.Context) (*deb.Archive, error)) (*shelf.Shelf, error) {
	state, err := s.offered(offer)
	if err != nil {
		return nil, err
	}
	source := shelf.Source{
		State: state,
		Resolve: func(ctx context.Context, names ...string) ([]ore.Package, error) {
			a, err := open(ctx)
			if err != nil {
				return nil, err
			}
			if packages, ok, err := s.locked(a, names); ok {
				return packages, err
			}
			var wishes []ore.Wish
			for _, n := range names {
				wishes = append(wishes, ore.Wish{Name: n})
			}
			return a.Needs(ctx, wishes...)
		},
		Fetch: func(ctx context.Context, p ore.Package) (string, error) {
			a, err := open(ctx)
			if err != nil {
				return "", err
			}
			return a.Fetch(ctx, p)
		},
	}
	return shelf.Open(filepath.Join(s.Dirs.Cache, "shelf"), source)
}
