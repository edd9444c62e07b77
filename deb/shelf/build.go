package shelf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore"
)

const (
	// maxFetches bounds the packages that are fetched at once for one tree;
	// more would not fill a link better, and the mirror is shared.
	maxFetches = 6
	// maxLevels bounds how far Depends are followed; qemu-system-x86, which
	// has the deepest needs of those here, takes five.
	maxLevels = 12
)

// builder makes one tree.
type builder struct {
	shelf    *Shelf
	set      map[string]ore.Package // what may be taken, by name
	dir      string
	unpacker *unpacker
	taken    []ore.Package
	programs []program // those of the package that was asked for
	all      []program // those of every package
	depends  []string  // names that the packages of the last level depend on
	files    int
}

// build makes the tree of main from packages of set. The lock is held.
func (s *Shelf) build(ctx context.Context, main ore.Package, set []ore.Package) (*Tree, error) {
	b := &builder{shelf: s, set: map[string]ore.Package{}, dir: filepath.Join(s.dir, newDir, lockName(main.Name))}
	for _, p := range set {
		if _, ok := b.set[p.Name]; !ok {
			b.set[p.Name] = p
		}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return nil, err
	}
	defer os.RemoveAll(b.dir) // nothing is there any more once all went well
	u, err := newUnpacker(b.dir)
	if err != nil {
		return nil, err
	}
	defer u.root.Close()
	b.unpacker = u
	links, err := b.fill(ctx, main)
	if err != nil {
		return nil, err
	}
	return b.seal(links.used)
}

// fill unpacks the main package and then level after level of what it depends
// on, until there are some files (a package without any stands for what it
// depends on) and the programs among the first have their libraries.
func (b *builder) fill(ctx context.Context, main ore.Package) (*linker, error) {
	if err := b.take(ctx, []ore.Package{main}); err != nil {
		return nil, err
	}
	for level := 0; ; level++ {
		links, err := needs(b.unpacker.root, b.programs)
		if err != nil {
			return nil, err
		}
		if len(links.missing) == 0 && b.files > 0 {
			return links, nil
		}
		next := b.next()
		if len(next) == 0 || level == maxLevels {
			if b.files == 0 {
				return nil, errors.New("the package and what it depends on bring no files: ask for another package")
			}
			return nil, fmt.Errorf("no package that it depends on has %s: the archive is not complete, try another mirror or suite",
				strings.Join(slices.Sorted(maps.Keys(links.missing)), ", "))
		}
		if err := b.take(ctx, next); err != nil {
			return nil, err
		}
	}
}

// next returns the packages of the next level.
func (b *builder) next() []ore.Package {
	var next []ore.Package
	for _, name := range b.depends {
		p, ok := b.set[name]
		if ok && !slices.Contains(b.taken, p) && !slices.Contains(next, p) {
			next = append(next, p)
		}
	}
	return next
}

// take fetches packages, several at once, and unpacks them one by one, in
// order, so that a tree depends on nothing but its packages.
func (b *builder) take(ctx context.Context, packages []ore.Package) error {
	files := make([]string, len(packages))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(maxFetches)
	for i, p := range packages {
		g.Go(func() (err error) {
			files[i], err = b.shelf.source.Fetch(gctx, p)
			if err != nil {
				return fmt.Errorf("fetch %s: %w", p, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	b.depends = nil
	bare := b.files == 0
	for i, p := range packages {
		control, err := b.unpacker.unpack(ctx, p, files[i])
		if err != nil {
			return fmt.Errorf("unpack %s: %w", p, err)
		}
		b.taken = append(b.taken, p)
		b.depends = append(b.depends, dependencies(control)...)
		b.all = append(b.all, b.unpacker.programs...)
		b.files += b.unpacker.files
		if bare {
			b.programs = append(b.programs, b.unpacker.programs...)
		}
	}
	return nil
}

// seal gives the programs their loader, writes the manifest and puts the tree
// into its place.
func (b *builder) seal(libs []string) (*Tree, error) {
	key := b.shelf.key(b.taken)
	final := filepath.Join(b.shelf.dir, treesDir, key)
	for _, p := range b.all {
		loader := strings.TrimPrefix(p.interp, "/")
		if _, err := b.unpacker.root.Stat(loader); err != nil {
			continue // a program of a package that came along for a library
		}
		f, err := b.unpacker.root.OpenFile(p.path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(setInterpreter(f, filepath.Join(final, loader)), f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
	}
	text, err := json.MarshalIndent(manifest{Packages: b.taken, Libraries: libs}, "", "\t")
	if err != nil {
		return nil, err
	}
	if err := b.unpacker.root.WriteFile(manifestName, append(text, '\n'), 0o644); err != nil {
		return nil, err
	}
	if err := flush(b.dir); err != nil {
		return nil, err
	}
	err = os.Rename(b.dir, final)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		err = nil // the same packages were taken for another archive state meanwhile
	}
	if err != nil {
		return nil, err
	}
	return &Tree{Dir: final, Packages: b.taken, libs: libs}, nil
}

// flush writes what the tree's file system has not written yet to the disk: a
// kernel that is empty after a power cut would keep its name for ever. One
// syncfs(2) costs less than an fsync for each of some thousand files.
func flush(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// dependencies returns the names in the Depends and Pre-Depends fields of a
// control paragraph, alternatives included (Debian policy 7.1). Names are all
// that is needed: versions were seen to when the set was resolved.
func dependencies(control []byte) []string {
	var names []string
	var in bool
	for line := range strings.Lines(string(control)) {
		if line[0] != ' ' && line[0] != '\t' { // else a folded field goes on
			field, value, _ := strings.Cut(line, ":")
			in = strings.EqualFold(field, "Depends") || strings.EqualFold(field, "Pre-Depends")
			line = value
		}
		if !in {
			continue
		}
		for _, d := range strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == '|' }) {
			name, _, _ := strings.Cut(strings.TrimSpace(d), " ")
			name, _, _ = strings.Cut(name, "(")
			name, _, _ = strings.Cut(name, ":")
			if name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}
