package kept

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"ore"
)

// Names of trees in their folder, but for those of bases, which are called by the
// key of the base.
const (
	LayerPrefix = "layer-" // of a layer; its digest follows
	StepPrefix  = "step-"  // of what a step did; what follows says what it ran over, see Step
)

// Orphans takes away the trees of layers that exist no more: no build begins with
// them again. What steps did is kept, since it needs no layer. While a build runs
// the error matches ErrBusy.
func (f Folders) Orphans(ctx context.Context, exists func(layer ore.Digest) bool) (Freed, error) {
	trees := Folders{Trees: f.Trees, Work: f.Work, Lock: f.Lock}
	return trees.take(ctx, func(t thing, _ int64) bool {
		name := filepath.Base(t.names[0])
		if strings.HasPrefix(name, StepPrefix) {
			return false
		}
		if hex, is := strings.CutPrefix(name, LayerPrefix); is {
			return !exists(ore.Digest("sha256:" + hex))
		}
		return !f.based(name, exists)
	})
}

// based says whether a layer of the base with that key exists, made with whatever
// options. What cannot be read says nothing against it.
func (f Folders) based(key string, exists func(layer ore.Digest) bool) bool {
	notes, err := filepath.Glob(filepath.Join(f.Bases, "*", key+".json"))
	if err != nil {
		return true
	}
	for _, name := range notes {
		var l struct{ Digest ore.Digest }
		text, err := os.ReadFile(name)
		if err != nil || json.Unmarshal(text, &l) != nil || exists(l.Digest) {
			return true
		}
	}
	return false
}
