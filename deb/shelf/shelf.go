package shelf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ore"
)

// Source is where a shelf's packages come from.
type Source struct {
	// State names the archive and what it offers now, for example by the
	// digest of its signed Release. What a package name was resolved to is
	// remembered for as long as State is the same; "" remembers nothing.
	State string
	// Resolve returns the closure of the named packages, exact and ready to
	// be fetched. It may hold more than the closure.
	Resolve func(ctx context.Context, names ...string) ([]ore.Package, error)
	// Fetch returns the path of a package's .deb, which the caller of Fetch
	// only reads. It is called by several goroutines at once.
	Fetch func(ctx context.Context, p ore.Package) (string, error)
}

// Shelf keeps unpacked packages under a folder. Its methods may be called by
// several goroutines, and several processes may share the folder.
type Shelf struct {
	dir    string
	source Source
}

// Tree is one package and what its programs need, unpacked.
type Tree struct {
	Dir      string        // absolute; its content is not to be changed
	Packages []ore.Package // the package that was asked for comes first
	libs     []string      // folders of libraries, relative to Dir
}

// The folders of a shelf.
const (
	treesDir  = "trees"
	chosenDir = "chosen"
	locksDir  = "locks"
	newDir    = "new"
)

// Open opens the shelf in the folder dir, which is made if needed, and removes
// what builders that were killed have left there.
func Open(dir string, source Source) (*Shelf, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open shelf: %w", err)
	}
	for _, d := range []string{treesDir, chosenDir, locksDir, newDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("open shelf: %w", err)
		}
	}
	s := &Shelf{dir: dir, source: source}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open shelf: %w", err)
	}
	return s, nil
}

// Program returns the program at path, relative to the root of the tree, in
// the named package.
func (s *Shelf) Program(ctx context.Context, pkg, path string) (*Program, error) {
	t, err := s.Tree(ctx, pkg)
	if err != nil {
		return nil, err
	}
	return t.Program(path)
}

// Path returns the host's path of a file or folder of the named package.
func (s *Shelf) Path(ctx context.Context, pkg, path string) (string, error) {
	t, err := s.Tree(ctx, pkg)
	if err != nil {
		return "", err
	}
	return t.Path(path)
}

// Tree returns the tree of the named package, which is resolved, fetched and
// unpacked unless that was done before. Of several callers, in whatever
// processes, one does the work and the others wait for it.
func (s *Shelf) Tree(ctx context.Context, pkg string) (*Tree, error) {
	if t := s.chosen(pkg); t != nil {
		return t, nil
	}
	unlock, err := s.lock(ctx, pkg)
	if err != nil {
		return nil, fmt.Errorf("shelf: %s: %w", pkg, err)
	}
	defer unlock()
	if t := s.chosen(pkg); t != nil {
		return t, nil
	}
	set, err := s.source.Resolve(ctx, pkg)
	if err != nil {
		return nil, fmt.Errorf("shelf: resolve %s: %w", pkg, err)
	}
	main := slices.IndexFunc(set, func(p ore.Package) bool { return p.Name == pkg })
	if main < 0 {
		return nil, fmt.Errorf("shelf: %s: the archive's answer does not hold it: ask for a package by its own name", pkg)
	}
	t := s.existing(set[main], set)
	if t == nil {
		if t, err = s.build(ctx, set[main], set); err != nil {
			return nil, fmt.Errorf("shelf: %s: %w", set[main], err)
		}
	}
	if err := s.choose(pkg, t); err != nil {
		return nil, fmt.Errorf("shelf: %s: %w", pkg, err)
	}
	return t, nil
}

// Path returns the host's path of a file or folder of the tree.
func (t *Tree) Path(path string) (string, error) {
	root, err := os.OpenRoot(t.Dir)
	if err != nil {
		return "", fmt.Errorf("shelf: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(path); err != nil {
		return "", fmt.Errorf("shelf: %s: %w", t.Packages[0], err)
	}
	return filepath.Join(t.Dir, path), nil
}

// Prune removes the trees that nobody asked for during the given time. A
// program that runs from a removed tree goes on, but cannot start itself anew.
func (s *Shelf) Prune(ctx context.Context, unused time.Duration) error {
	dir := filepath.Join(s.dir, treesDir)
	trees, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("prune shelf: %w", err)
	}
	for _, e := range trees {
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(dir, e.Name(), manifestName))
		if err == nil && time.Since(info.ModTime()) < unused {
			continue
		}
		if err := s.remove(ctx, e.Name()); err != nil {
			return fmt.Errorf("prune shelf: %w", err)
		}
	}
	return nil
}

// remove takes a tree away in one step, so that nobody meets half of it.
func (s *Shelf) remove(ctx context.Context, key string) error {
	unlock, err := s.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	gone := filepath.Join(s.dir, newDir, lockName(key))
	if err := os.Rename(filepath.Join(s.dir, treesDir, key), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}

// manifest is a tree's .shelf.json.
type manifest struct {
	Packages  []ore.Package
	Libraries []string
}

const (
	manifestName = ".shelf.json"
	// format is part of each tree's key: it changes when trees do.
	format = 1
)

// key names a tree by its main package, by what was taken along, and by where
// it stands, since its programs hold the absolute path of their loader.
func (s *Shelf) key(packages []ore.Package) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s\n", format, s.dir)
	for _, p := range packages {
		fmt.Fprintf(h, "%s %s\n", p, p.Digest)
	}
	return packages[0].Name + "-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// load returns the tree with the given key, or nil if there is none here.
func (s *Shelf) load(key string) *Tree {
	dir := filepath.Join(s.dir, treesDir, key)
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil
	}
	var m manifest
	if json.Unmarshal(b, &m) != nil || len(m.Packages) == 0 || s.key(m.Packages) != key {
		return nil
	}
	return &Tree{Dir: dir, Packages: m.Packages, libs: m.Libraries}
}

// existing returns a tree of the main package all of whose packages are in
// set: resolved anew it would be the same.
func (s *Shelf) existing(main ore.Package, set []ore.Package) *Tree {
	trees, err := os.ReadDir(filepath.Join(s.dir, treesDir))
	if err != nil {
		return nil
	}
	have := map[ore.Digest]bool{}
	for _, p := range set {
		have[p.Digest] = true
	}
	for _, e := range trees {
		if !strings.HasPrefix(e.Name(), main.Name+"-") {
			continue
		}
		t := s.load(e.Name())
		if t != nil && t.Packages[0].Digest == main.Digest &&
			!slices.ContainsFunc(t.Packages, func(p ore.Package) bool { return !have[p.Digest] }) {
			return t
		}
	}
	return nil
}

// chosenPath is where it is remembered which tree a name stands for.
func (s *Shelf) chosenPath(pkg string) string {
	return filepath.Join(s.dir, chosenDir, lockName(s.source.State+"\n"+pkg))
}

// chosen returns the tree that pkg was found to stand for, or nil.
func (s *Shelf) chosen(pkg string) *Tree {
	if s.source.State == "" {
		return nil
	}
	key, err := os.ReadFile(s.chosenPath(pkg))
	if err != nil || !filepath.IsLocal(string(key)) {
		return nil
	}
	t := s.load(string(key))
	if t != nil {
		now := time.Now()
		// Only Prune looks at this time; a shelf that may only be read is
		// as good.
		_ = os.Chtimes(filepath.Join(t.Dir, manifestName), now, now)
	}
	return t
}

// choose remembers which tree pkg stands for.
func (s *Shelf) choose(pkg string, t *Tree) error {
	if s.source.State == "" {
		return nil
	}
	path := s.chosenPath(pkg)
	tmp := filepath.Join(s.dir, newDir, lockName(pkg)) // ours: the lock is held
	if err := os.WriteFile(tmp, []byte(filepath.Base(t.Dir)), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
