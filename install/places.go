package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ore"
	"ore/install/bases"
	"ore/install/kept"
)

// places are the paths below a Builder's folder:
//
//	packs/           decoded packages (package pack)
//	compiled/        what compilers made of packages' files (package bytecode)
//	bases/O/K.json   the layer of the base with key K, made by this recipe with options O
//	bases/O/K.nodes  what the layer cannot say
//	trees/T/K        the base's tree, made by this recipe in tier T
//	trees/T/layer-D  the tree of the layer D, of an image that a build started from
//	trees/T/step-K   what the step with key K did (package graph); upon an image -I follows, over other steps -S
//	work/build-*     builds under way, each locked by the file beside it
//	lock             locked by builds, so that nothing is taken away meanwhile
type places struct {
	packs, compiled, tree, work string
	base                        bases.Place
}

// recipe is the version of the way in which trees are made. It changes whenever
// a base made before is no longer what one made now would be.
const recipe = 5

// kept returns the folders of what builds leave for others.
func (b *Builder) kept() kept.Folders { return kept.Below(b.Dir) }

// Prune takes away what builds have left for later builds, the least valuable
// first, until the rest has at most limit bytes; kept.Limit is a good one. debs is
// the folder of the .debs that the Builder's fetcher keeps, "" to leave them out.
// While a build runs, the error matches kept.ErrBusy.
func (b *Builder) Prune(ctx context.Context, debs string, limit int64) (kept.Freed, error) {
	f := b.kept()
	f.Debs = debs
	return f.Prune(ctx, limit)
}

func (b *Builder) places(env ore.Environment) (places, error) {
	key := string(env.BaseOnly().Key())
	o := fmt.Sprintf("v%d-%s-%d-%d", recipe, b.Options.Compression, b.Options.Level, b.Options.BlockSize)
	f := b.kept()
	p := places{
		packs: f.Packs, compiled: f.Compiled,
		tree: filepath.Join(f.Trees, fmt.Sprintf("v%d-%s", recipe, b.Tier), key),
		base: bases.Place{Note: filepath.Join(b.Dir, "bases", o, key+".json"), Nodes: filepath.Join(b.Dir, "bases", o, key+".nodes")},
		work: f.Work,
	}
	for _, d := range []string{p.packs, filepath.Dir(p.tree), filepath.Dir(p.base.Note), p.work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return p, fmt.Errorf("make folders: %w", err)
		}
	}
	return p, nil
}
