package kept

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ore"
)

// Disown takes away what is noted of the base with this key, and the trees of its
// layer: builds make it again. While a build runs nothing is taken, and the error
// matches ErrBusy: a tree that stayed would be taken for that of the base that is
// made next.
func (f Folders) Disown(ctx context.Context, key ore.Key, layer ore.Digest) error {
	trees := Folders{Trees: f.Trees, Work: f.Work, Lock: f.Lock}
	_, err := trees.alone(ctx, func(trash string, freed *Freed) error {
		err := trees.sift(ctx, trash, freed, func(t thing, _ int64) bool {
			name := filepath.Base(t.names[0])
			return name == string(key) || name == LayerPrefix+layer.Hex()
		})
		if err != nil {
			return err
		}
		notes, err := filepath.Glob(filepath.Join(f.Bases, "*", string(key)+".json"))
		for _, name := range notes {
			if gone := os.Remove(name); !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("disown base %s: %w", key.Short(), err)
	}
	return nil
}
