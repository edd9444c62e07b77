package exact

import (
	"context"

	"ore"
	"ore/image"
	"ore/install/dpkg"
	"ore/install/pack"
)

// Judge tells why env cannot be made from the candidate, as far as the packages
// that have been decoded here tell; "" if nothing speaks against it. The build
// itself knows all of them.
func Judge(ctx context.Context, packs *pack.Store, candidate image.Manifest, env ore.Environment, seen Memory) (string, error) {
	if why := Alike(candidate, env); why != "" {
		return why, nil
	}
	var s Sets
	from := candidate.Environment.Packages
	for _, p := range env.Packages {
		set := &s.Missing
		switch {
		case p.Base:
			set = &s.Base
		case Has(from, p):
			set = &s.Common
		}
		if err := take(ctx, set, packs, p, seen); err != nil {
			return "", err
		}
	}
	for _, p := range from {
		if Has(env.Packages, p) {
			continue
		}
		if err := take(ctx, &s.Extra, packs, p, seen); err != nil {
			return "", err
		}
	}
	if why := s.Known(); why != "" {
		return why, nil
	}
	return s.Apart(), nil
}

// take adds what is known of a package.
func take(ctx context.Context, set *[]*Facts, packs *pack.Store, p ore.Package, seen Memory) error {
	if !packs.Has(p.Digest) {
		return nil
	}
	k, err := packs.Get(ctx, p.Digest, "", nil)
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
