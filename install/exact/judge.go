package exact

import (
	"context"
	"strings"

	"ore"
	"ore/image"
	"ore/install/dpkg"
	"ore/install/pack"
)

// Source is where packages are known from.
type Source struct {
	Packs *pack.Store
	Debs  map[ore.Digest]string // files of packages that may not have been decoded
}

// Judge tells why env cannot be made from the candidate, as far as the packages
// that are at hand tell; "" if nothing speaks against it. The build itself knows
// all of them.
func Judge(ctx context.Context, from Source, candidate image.Manifest, env ore.Environment, seen Memory) (string, error) {
	if why := Alike(candidate, env); why != "" || Made(candidate) {
		return why, nil
	}
	var s Sets
	had := candidate.Environment.Packages
	for _, p := range env.Packages {
		set := &s.Missing
		switch {
		case p.Base:
			set = &s.Base
		case Has(had, p):
			set = &s.Common
		}
		if err := from.take(ctx, set, p, seen); err != nil {
			return "", err
		}
	}
	for _, p := range had {
		if Has(env.Packages, p) {
			continue
		}
		if err := from.take(ctx, &s.Extra, p, seen); err != nil {
			return "", err
		}
	}
	if why := s.Known(); why != "" {
		return why, nil
	}
	return s.Apart(), nil
}

// take adds what is known of a package.
func (s Source) take(ctx context.Context, set *[]*Facts, p ore.Package, seen Memory) error {
	if !s.Packs.Has(p.Digest) {
		s.peek(set, p, seen)
		return nil
	}
	k, err := s.Packs.Get(ctx, p.Digest, "", nil)
	if err != nil {
		return err
	}
	defer k.Close()
	d, err := dpkg.New(k.Control, k.Nodes, k.Conffiles)
	if err != nil {
		return err
	}
	*set = append(*set, of(d, seen))
	return nil
}

// peek adds what a .deb says of itself before it is decoded: its scripts, and the
// paths of its files in the control member's md5sums. A file that says nothing is
// left for the build to complain about.
func (s Source) peek(set *[]*Facts, p ore.Package, seen Memory) {
	deb := s.Debs[p.Digest]
	if deb == "" {
		return
	}
	control, err := s.Packs.Head(deb)
	if err != nil {
		return
	}
	d, err := dpkg.New(control, nil, nil)
	if err != nil {
		return
	}
	var paths []string
	for line := range strings.Lines(string(control["md5sums"])) {
		if _, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); ok {
			paths = append(paths, name)
		}
	}
	*set = append(*set, Of(d, paths, seen))
}

// of judges a package that is not installed.
func of(p *dpkg.Package, seen Memory) *Facts {
	var paths []string
	for i := range p.Nodes {
		if name := p.Nodes[i].Path; name != "." {
			paths = append(paths, name)
		}
	}
	return Of(p, paths, seen)
}
