package roster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ore"
)

// kept is a system as the roster's file has it. Its recipe is a file of its own,
// named by digest: it is long, and the roster is written at each change.
type kept struct {
	System
	Recipe ore.Digest `json:"recipe,omitempty"`
}

func (s System) kept() kept {
	k := kept{System: s}
	k.System.Recipe = nil
	if len(s.Recipe) > 0 {
		k.Recipe = ore.DigestOf(s.Recipe)
	}
	return k
}

// recipe is where one is kept.
func (r *Roster) recipe(d ore.Digest) string {
	return filepath.Join(filepath.Dir(r.path), "recipes", d.Hex())
}

// store keeps a system's recipe. The caller holds the lock on the roster's file,
// so that nobody sweeps it away before a system names it.
func (r *Roster) store(s System) error {
	d := s.kept().Recipe
	if d == "" {
		return nil
	}
	if b, err := os.ReadFile(r.recipe(d)); err == nil && ore.DigestOf(b) == d {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.recipe(d)), 0o700); err != nil {
		return err
	}
	next := r.recipe(d) + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(s.Recipe)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return os.Rename(next, r.recipe(d))
}

// whole returns a system with its recipe.
func (r *Roster) whole(k kept) (System, error) {
	s := k.System
	if k.Recipe == "" {
		return s, nil
	}
	b, err := os.ReadFile(r.recipe(k.Recipe))
	if err == nil && ore.DigestOf(b) != k.Recipe {
		err = fmt.Errorf("%s: its content is not what its name says", r.recipe(k.Recipe))
	}
	if err != nil {
		return System{}, fmt.Errorf("recipe: %w: assign the machine again", err)
	}
	s.Recipe = b
	return s, nil
}

// recipes are the names of those that systems have.
func (b *book) recipes() map[string]bool {
	names := map[string]bool{}
	for _, k := range b.Systems {
		names[k.Recipe.Hex()] = true
	}
	return names
}

// tidy removes the recipes that no system names any more. The caller holds the
// lock on the roster's file.
func (r *Roster) tidy(b *book) error {
	list, err := os.ReadDir(filepath.Join(filepath.Dir(r.path), "recipes"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	used := b.recipes()
	for _, f := range list {
		if used[f.Name()] {
			continue
		}
		if e := os.Remove(filepath.Join(filepath.Dir(r.path), "recipes", f.Name())); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
