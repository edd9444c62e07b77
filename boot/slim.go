package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"ore/squashfs"
)

// unneeded are paths of an image that no machine misses which lives in memory
// for some minutes and in which nobody looks around. What begins with one of them
// is left out of a packed machine.
func unneeded() []string {
	return []string{
		"usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/", // for people
		"usr/share/i18n/", "usr/lib/udev/hwdb", "etc/udev/hwdb", // data of locales that are not made, and of devices for udev, which does not run
		"usr/bin/python3", "usr/lib/python3", "usr/share/python3/", // of tools for repairs, which nothing here calls:
		"usr/lib/x86_64-linux-gnu/libicu",                   // xfs_scrub(8) and its timer
		"usr/share/perl/", "usr/lib/x86_64-linux-gnu/perl/", // beyond what perl-base has, which is all that dpkg's programs use
		"usr/lib/x86_64-linux-gnu/libperl.so", "usr/bin/perl5.", // the same, with its own interpreter
		"var/cache/", "var/lib/apt/lists/", "var/log/", "usr/share/zoneinfo/",
	}
}

// slimmed is an entry of the merged layers, and where it is from.
type slimmed struct {
	squashfs.Entry
	layer int
}

// slim merges layers, lowest first, into one that is made once and loaded by many
// machines over a network, without what begins with one of the paths in leave.
type slim struct {
	readers []*squashfs.Reader
	files   []*os.File
	merged  map[string]slimmed
	leave   []string
}

// slimLayer finds or makes the slim layer of some.
func (b *Boot) slimLayer(ctx context.Context, layers, leave []string) (string, error) {
	words := append(append([]string{fmt.Sprint(packedLevel)}, layers...), leave...)
	path := b.made("slim", ".squashfs", words...)
	err := b.make(path, func(f *os.File) (err error) {
		s := &slim{merged: map[string]slimmed{}, leave: leave}
		defer func() { err = errors.Join(err, s.close()) }()
		for _, l := range layers {
			if err := s.open(l); err != nil {
				return fmt.Errorf("layer %s: %w", l, err)
			}
		}
		return s.write(ctx, f)
	})
	return path, err
}

func (s *slim) close() error {
	var err error
	for _, f := range s.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// open lays a layer over those before.
func (s *slim) open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	s.files = append(s.files, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := squashfs.NewReader(f, info.Size())
	if err != nil {
		return err
	}
	s.readers = append(s.readers, r)
	for e, err := range r.Entries() {
		if err != nil {
			return err
		}
		s.lay(slimmed{e, len(s.readers) - 1})
	}
	return nil
}

// lay puts an entry over the tree; a device 0:0 takes a name away (overlayfs's
// whiteout).
func (s *slim) lay(e slimmed) {
	folder := e.Mode.IsDir() && e.Hardlink == ""
	if old, ok := s.merged[e.Path]; ok && old.Mode.IsDir() && !folder {
		maps.DeleteFunc(s.merged, func(name string, _ slimmed) bool { return strings.HasPrefix(name, e.Path+"/") })
	}
	if e.Hardlink == "" && e.Mode.Type() == fs.ModeDevice|fs.ModeCharDevice && e.Major == 0 && e.Minor == 0 {
		delete(s.merged, e.Path)
		return
	}
	s.merged[e.Path] = e
}

// leaves says whether an entry is left out. The folders that are named stay, for
// programs that look into them.
func (s *slim) leaves(path string) bool {
	return slices.ContainsFunc(s.leave, func(p string) bool { return strings.HasPrefix(path, p) })
}

// write writes what is left.
func (s *slim) write(ctx context.Context, f *os.File) error {
	w, err := squashfs.NewWriter(f, squashfs.Options{Compression: squashfs.Zstd, Level: packedLevel})
	if err != nil {
		return err
	}
	defer w.Abort()
	names := slices.Sorted(maps.Keys(s.merged))
	first := map[string]string{} // of a file with several names, the one that has the content
	for _, name := range append([]string{"."}, names...) {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, ok := s.merged[name]
		if !ok || s.leaves(name) {
			continue
		}
		delete(s.merged, name) // the root comes first, and once
		if err := s.add(w, e, first); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return w.Close()
}

func (s *slim) add(w *squashfs.Writer, e slimmed, first map[string]string) error {
	out, source := e.Entry, e.Path
	if e.Hardlink != "" {
		var err error
		source = e.Hardlink
		if out, err = s.readers[e.layer].Lookup(source); err != nil {
			return err
		}
		out.Path = e.Path
	}
	if !out.Mode.IsRegular() {
		return w.Add(out, nil)
	}
	key := fmt.Sprint(e.layer, " ", source)
	if name, ok := first[key]; ok {
		return w.Add(squashfs.Entry{Path: e.Path, Hardlink: name}, nil)
	}
	first[key] = e.Path
	content, err := s.readers[e.layer].Open(source)
	if err != nil {
		return err
	}
	return w.Add(out, content)
}
