package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// casyncSettings are what casync is tried with; the best of them counts for
// each upgrade. The first are its defaults. Smaller chunks hold less that did
// not change, and make the index longer, which has to be fetched whole.
func casyncSettings() [][]string {
	return [][]string{
		{"--compression=zstd"},
		{"--compression=zstd", "--chunk-size=16K"},
		{"--compression=xz"},
	}
}

// prepareCasync unpacks both trees of each upgrade, and makes the stores that a
// host with the old one has.
func (u *updates) prepareCasync(ctx context.Context, b *bench) error {
	if err := u.prepare(ctx, b); err != nil {
		return err
	}
	for _, x := range u.all {
		for _, i := range x.images {
			tree := u.tree(b, i)
			if err := os.Mkdir(tree, 0o755); errors.Is(err, fs.ErrExist) {
				continue // two upgrades lead to one image
			} else if err != nil {
				return err
			}
			file := tree + ".tar"
			c := b.plainOre(u.home, "images", "export", i.key, file, "--format", "tar")
			if err := b.account.run(ctx, c); err != nil {
				return err
			}
			if err := b.account.run(ctx, &command{root: true, dir: b.dir, args: []string{"tar", "-C", tree, "-xf", file}}); err != nil {
				return err
			}
			if err := os.Remove(file); err != nil {
				return err
			}
		}
		for n, settings := range casyncSettings() {
			if err := u.casyncMake(ctx, b, cut{x, 0, n, settings}); err != nil {
				return err
			}
		}
	}
	return nil
}

// casyncMake has casync cut the old or the new tree into the store of one
// upgrade and one choice of settings.
func (u *updates) casyncMake(ctx context.Context, b *bench, c cut) error {
	args := append([]string{"casync", "make", "--store=" + c.store(b), "--with=unix"}, c.settings...)
	tree := u.tree(b, c.upgrade.images[c.which])
	return b.account.run(ctx, &command{root: true, dir: b.dir, args: append(args, c.index(b), tree)})
}

// cut is one tree cut in one way.
type cut struct {
	upgrade  *upgrade
	which    int // 0 for the old tree
	number   int // of the settings
	settings []string
}

func (c cut) store(b *bench) string {
	return filepath.Join(b.dir, fmt.Sprintf("casync-%s-%d", c.upgrade.name, c.number))
}

func (c cut) index(b *bench) string { return fmt.Sprintf("%s-%d.caidx", c.store(b), c.which) }

func (u *updates) tree(b *bench, i updated) string { return filepath.Join(b.dir, "tree-"+i.key[:12]) }

// runCasync counts what a host with the old tree and all its chunks has to
// fetch: the new tree's index, and the chunks that the old tree does not have.
func (u *updates) runCasync(ctx context.Context, b *bench, round int) error {
	clock := startClock(casync, round)
	sum := int64(0)
	parts := map[string]float64{}
	var notes []string
	for _, x := range u.all {
		best, how := int64(-1), ""
		for k, settings := range casyncSettings() {
			n, err := u.casyncBytes(ctx, b, cut{x, 1, k, settings})
			if err != nil {
				return fmt.Errorf("casync %s: %w", x.name, err)
			}
			if best < 0 || n < best {
				best, how = n, strings.Join(settings, " ")
			}
		}
		sum += best
		parts[x.name+", MB"] = float64(best) / 1e6
		notes = append(notes, x.name+": "+how)
	}
	s := amount(clock, sum, parts)
	s.Note = strings.Join(notes, "; ")
	return b.record.add(s)
}

// casyncBytes adds up the new tree's index and the chunks that it adds to the
// old one's store, which is then as before.
func (u *updates) casyncBytes(ctx context.Context, b *bench, c cut) (int64, error) {
	before, err := fileSizes(c.store(b))
	if err != nil {
		return 0, err
	}
	if err := u.casyncMake(ctx, b, c); err != nil {
		return 0, err
	}
	after, err := fileSizes(c.store(b))
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(c.index(b))
	if err != nil {
		return 0, err
	}
	sum := info.Size()
	for name, n := range after {
		if _, had := before[name]; !had {
			sum += n
			if err := os.Remove(name); err != nil {
				return 0, err
			}
		}
	}
	return sum, nil
}

// fileSizes lists the files below dir.
func fileSizes(dir string) (map[string]int64, error) {
	all := map[string]int64{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all[name] = info.Size()
		}
		return err
	})
	return all, err
}
