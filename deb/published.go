package deb

import (
	"fmt"
	"path"
	"strings"

	"ore"
	"ore/deb/fetch"
	"ore/deb/index"
	"ore/deb/release"
)

// File says where p may be fetched, and where it is when it is kept here.
func (a *Archive) File(p ore.Package) (fetch.File, error) { return a.file(p) }

// Find returns the package with the digest, if a proved index has it.
func (a *Archive) Find(d ore.Digest) (ore.Package, bool) {
	for _, s := range a.sources {
		for _, x := range s.indexes {
			if p, ok := x.Find(d); ok {
				return s.exact(p), true
			}
		}
	}
	return ore.Package{}, false
}

// At returns the package that has the path in the base's archives, relative to
// their roots. A package's file is named for the package (Debian's archives, and
// all that the same tools make), so only one name is looked up.
func (a *Archive) At(file string) (ore.Package, bool) {
	name, _, _ := strings.Cut(path.Base(file), "_")
	for _, s := range a.sources {
		if s.further {
			continue
		}
		for _, x := range s.indexes {
			n, ok := x.Lookup(name)
			if !ok {
				continue
			}
			for i := range n.Packages {
				if p := x.Package(n.First + i); p.Path == file {
					return s.exact(p), true
				}
			}
		}
	}
	return ore.Package{}, false
}

// exact is p as a lock has it.
func (s opened) exact(p index.Package) ore.Package {
	q := ore.Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Path: p.Path, Size: p.Size, Digest: p.Digest}
	if s.further {
		q.Archive = s.uri
	}
	return q
}

// Published is a suite of the base's archives as it was proved.
type Published struct {
	URI, Suite string
	InRelease  []byte // the signed page
	Release    release.Release
}

// Published returns the suites of the base's archives, in apt's order.
func (a *Archive) Published() ([]Published, error) {
	kept := store{dir: a.indexes()}
	var all []Published
	for _, s := range a.sources {
		if s.further {
			continue
		}
		t, err := a.config.trust(s.source)
		if err != nil {
			return nil, err
		}
		keys, err := t.keyring()
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s, err)
		}
		p := Published{URI: s.uri, Suite: s.suite, InRelease: kept.inRelease(s.source)}
		// The page may be newer than the indexes that are open: another process
		// may have asked the mirror since. So it is proved once more.
		if p.Release, err = release.Verify(p.InRelease, keys, a.config.now()); err != nil {
			return nil, fmt.Errorf("source %s: InRelease: %w: remove the cache's folder indexes, it is made anew", s, err)
		}
		all = append(all, p)
	}
	return all, nil
}
