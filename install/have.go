package install

import (
	"os"

	"ore"
	"ore/image"
	"ore/install/pack"
)

// Have is what a builder could reuse for an environment.
type Have struct {
	Base  *image.Layer        // that of its base set, nil if there is none
	Tree  bool                // that layer is unpacked
	Packs map[ore.Digest]bool // packages that were decoded before
}

// Have says what exists already that a build of env would use.
func (b *Builder) Have(env ore.Environment) (Have, error) {
	have := Have{Packs: map[ore.Digest]bool{}}
	p, err := b.places(env)
	if err != nil {
		return have, err
	}
	base, err := p.base.Find(b.Store)
	if err != nil {
		return have, err
	}
	have.Base = base
	_, err = os.Lstat(p.tree)
	have.Tree = err == nil
	packs, err := pack.Open(p.packs, b.Options, nil)
	if err != nil {
		return have, err
	}
	for _, pkg := range env.Packages {
		have.Packs[pkg.Digest] = packs.Has(pkg.Digest)
	}
	return have, nil
}
