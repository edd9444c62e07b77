package install

import (
	"fmt"
	"path/filepath"

	"ore"
	"ore/image"
	"ore/install/graph"
	"ore/install/kept"
	"ore/install/pack"
)

// Have is what a builder could reuse for an environment.
type Have struct {
	Base  *image.Layer        // that of its base set, nil if there is none
	Tree  bool                // that layer is unpacked
	Packs map[ore.Digest]bool // packages that were decoded before
	Steps []string            // names of those that were done before, in builds from nothing
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
	// A host has one tier, and finding out which takes longer than looking.
	tiers := filepath.Join(filepath.Dir(filepath.Dir(p.tree)), fmt.Sprintf("v%d-*", recipe))
	have.Tree = kept.Find(filepath.Join(tiers, filepath.Base(p.tree))) != ""
	done := func(k graph.Key, over []string) string { return kept.FindStep(tiers, string(k), over) }
	if have.Steps, err = graph.Done(env, done); err != nil {
		return have, err
	}
	packs, err := pack.Open(p.packs, b.Options, nil)
	if err != nil {
		return have, err
	}
	for _, pkg := range env.Packages {
		have.Packs[pkg.Digest] = packs.Has(pkg.Digest)
	}
	return have, nil
}
