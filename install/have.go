package install

import (
	"ore"
	"ore/install/pack"
)

// Have is what a builder could reuse for an environment.
type Have struct {
	Base  bool                // the layer of its base set
	Packs map[ore.Digest]bool // packages that were decoded before
}

// Have says what exists already that a build of env would use.
func (b *Builder) Have(env ore.Environment) (Have, error) {
	have := Have{Packs: map[ore.Digest]bool{}}
	p, err := b.places(env)
	if err != nil {
		return have, err
	}
	base, err := b.findBase(p)
	if err != nil {
		return have, err
	}
	have.Base = base != nil
	packs, err := pack.Open(p.packs, b.Options, nil)
	if err != nil {
		return have, err
	}
	for _, pkg := range env.Packages {
		have.Packs[pkg.Digest] = packs.Has(pkg.Digest)
	}
	return have, nil
}
