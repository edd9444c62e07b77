package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/install/sandbox"
)

// places are the paths below a Builder's folder:
//
//	packs/           decoded packages (package pack)
//	bases/O/K.json   the layer of the base with key K, made by this recipe with options O
//	bases/O/K.nodes  what the layer cannot say
//	trees/T/K        the base's tree, made by this recipe in tier T
//	work/build-*     builds under way, each locked by the file beside it
type places struct {
	packs, tree, nodes, note, work string
}

// recipe is the version of the way in which trees are made. It changes whenever
// a base made before is no longer what one made now would be.
const recipe = 3

func (b *Builder) places(env ore.Environment) (places, error) {
	key := string(env.BaseOnly().Key())
	o := fmt.Sprintf("v%d-%s-%d-%d", recipe, b.Options.Compression, b.Options.Level, b.Options.BlockSize)
	p := places{
		packs: filepath.Join(b.Dir, "packs"),
		tree:  filepath.Join(b.Dir, "trees", fmt.Sprintf("v%d-%s", recipe, b.Tier), key),
		note:  filepath.Join(b.Dir, "bases", o, key+".json"),
		nodes: filepath.Join(b.Dir, "bases", o, key+".nodes"),
		work:  filepath.Join(b.Dir, "work"),
	}
	for _, d := range []string{p.packs, filepath.Dir(p.tree), filepath.Dir(p.note), p.work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return p, fmt.Errorf("make folders: %w", err)
		}
	}
	return p, nil
}

// findBase returns the layer of the base if an earlier build made it and the
// store still has it, else nil.
func (b *Builder) findBase(p places) (*image.Layer, error) {
	text, err := os.ReadFile(p.note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find base: %w", err)
	}
	var l image.Layer
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("find base: %s: %w: delete it", p.note, err)
	}
	if _, err := os.Stat(p.nodes); err != nil {
		return nil, nil // made again, with the layer
	}
	if _, err := b.Store.Path(l.Digest); errors.Is(err, image.ErrMissing) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("find base: %w", err)
	}
	return &l, nil
}

// noteBase notes the base's layer, which the store has by now, for later builds.
func (b *Builder) noteBase(p places, work string, l image.Layer) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	if err := os.Rename(filepath.Join(work, "nodes"), p.nodes); err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	part := filepath.Join(work, "note")
	if err := os.WriteFile(part, text, 0o644); err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	if err := os.Rename(part, p.note); err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	return nil
}

// workplace is the folder of one build. Whoever holds the lock owns it.
type workplace struct {
	dir  string
	lock *os.File
}

// newWork makes the folder of a build and removes those of builds that died.
func (b *Builder) newWork(ctx context.Context, p places) (*workplace, error) {
	if err := b.sweep(ctx, p); err != nil {
		return nil, err
	}
	for {
		f, err := os.CreateTemp(p.work, "build-*.lock")
		if err != nil {
			return nil, fmt.Errorf("make work folder: %w", err)
		}
		name := f.Name()
		f.Close() // it is empty
		lock, err := tryLock(name)
		if err != nil {
			return nil, fmt.Errorf("make work folder: %w", err)
		}
		if lock == nil {
			continue // another build's sweep was faster and removes it
		}
		w := &workplace{dir: strings.TrimSuffix(name, ".lock"), lock: lock}
		if err := os.Mkdir(w.dir, 0o755); err != nil {
			return nil, fmt.Errorf("make work folder: %w", errors.Join(err, lock.Close()))
		}
		return w, nil
	}
}

// tryLock takes the lock file at path; it returns nil if somebody else has it or
// has just removed it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	here, err := os.Stat(path)
	mine, err2 := f.Stat()
	if err != nil || err2 != nil || !os.SameFile(here, mine) {
		return nil, f.Close() // whoever had it has just removed it
	}
	return f, nil
}

// remove deletes the folder and its lock. What cannot be deleted is left to the
// next build's sweep.
func (w *workplace) remove() {
	if err := sandbox.Remove(context.Background(), w.dir); err == nil {
		os.Remove(w.lock.Name())
	}
	w.lock.Close()
}

// sweep removes the folders of builds whose process is gone: their lock is free.
func (b *Builder) sweep(ctx context.Context, p places) error {
	locks, err := filepath.Glob(filepath.Join(p.work, "build-*.lock"))
	if err != nil {
		return fmt.Errorf("sweep builds: %w", err)
	}
	for _, name := range locks {
		lock, err := tryLock(name)
		if err != nil {
			return fmt.Errorf("sweep builds: %w", err)
		}
		if lock == nil {
			continue
		}
		dir := name[:len(name)-len(".lock")]
		err = sandbox.Remove(ctx, dir)
		if err == nil {
			err = os.Remove(name)
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return fmt.Errorf("sweep builds: %w", err)
		}
	}
	return nil
}
