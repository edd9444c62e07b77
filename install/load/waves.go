package load

import (
	"context"

	"ore/install/dpkg"
)

// Wave is a [dpkg.Wave] of packages that may still be loading.
type Wave struct{ Unpack, First []*Package }

// Waves orders the set, and loads first what is unpacked before the last wave.
func (l *Loader) Waves(ctx context.Context, set []*Package) ([]Wave, error) {
	heads, err := Heads(ctx, set)
	if err != nil {
		return nil, err
	}
	of := map[*dpkg.Package]*Package{}
	for i, x := range set {
		of[heads[i]] = x
	}
	back := func(packages []*dpkg.Package) (list []*Package) {
		for _, q := range packages {
			list = append(list, of[q])
		}
		return list
	}
	var list []Wave
	for _, w := range dpkg.Waves(heads) {
		list = append(list, Wave{back(w.Unpack), back(w.First)})
	}
	for _, w := range list[:max(0, len(list)-1)] {
		l.Hasten(w.Unpack...)
	}
	return list, nil
}

// Heads returns what the packages say of themselves, which is known before they
// are loaded.
func Heads(ctx context.Context, set []*Package) ([]*dpkg.Package, error) {
	heads := make([]*dpkg.Package, len(set))
	for i, x := range set {
		heads[i] = x.Head
		if x.Head == nil {
			if err := Wait(ctx, x); err != nil {
				return nil, err
			}
			heads[i] = x.Package
		}
	}
	return heads, nil
}
