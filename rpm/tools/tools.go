// Package tools keeps the programs that RPM environments are made with: dnf, rpm
// and what they need, unpacked from verified Debian packages into a folder that
// programs see as their root.
//
// The packages are only unpacked: none of their maintainer scripts runs, since
// what dnf needs of Debian is in its packages' files. So a tree is made in
// seconds, by anybody, and holds no more than the closure of dnf.
//
//	trees/KEY     the packages whose digests make KEY, unpacked
//	work/build-*  trees in the making
package tools

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/deb"
	"ore/deb/archive"
	"ore/install/sandbox"
	"ore/install/workplace"
)

// Suite is the suite of Debian that the programs come from, whatever the host
// runs: what rpm writes into its database depends on its version, and the same
// lock is to give the same tree everywhere.
const Suite = "bookworm"

// recipe is the version of the way in which trees are made.
const recipe = "1"

// unused is how long a tree is kept that nobody uses: there is a new one for each
// point release.
const unused = 30 * 24 * time.Hour

// scripting begins the names of packages that rpm depends on for scripts with
// which packages are built, and nothing here is.
var scripting = [...]string{"perl", "libperl", "debugedit"}

// merged are the folders that a system with a merged /usr has as links to the
// same names under /usr. Packages from before the merge name them directly.
var merged = [...]string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"}

// skipped is documentation, which takes room and time.
var skipped = [...]string{"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug"}

// Tree returns the folder of the tree in dir, and makes it if there is none.
// Nobody may change what is in it.
func Tree(ctx context.Context, dir string, from *deb.Archive, watch ore.Watcher) (string, error) {
	tree, err := tree(ctx, dir, from, watch)
	if err != nil {
		return "", fmt.Errorf("dnf: %w", err)
	}
	return tree, nil
}

func tree(ctx context.Context, dir string, from *deb.Archive, watch ore.Watcher) (string, error) {
	packages, err := needs(ctx, from)
	if err != nil {
		return "", err
	}
	trees, work := filepath.Join(dir, "trees"), filepath.Join(dir, "work")
	for _, d := range []string{trees, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	final := filepath.Join(trees, key(packages))
	now := time.Now()
	if os.Chtimes(final, now, now) == nil {
		return final, nil
	}
	if err := from.FetchAll(ctx, packages, watch); err != nil {
		return "", err
	}
	place, err := workplace.Open(ctx, work)
	if err != nil {
		return "", err
	}
	defer place.Remove()
	made := filepath.Join(place.Dir, "tree")
	if err := unpackAll(ctx, made, from, packages); err != nil {
		return "", err
	}
	if err := flush(made); err != nil {
		return "", err
	}
	err = os.Rename(made, final)
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return "", err
	}
	return final, sweep(ctx, trees, now.Add(-unused))
}

// needs returns the packages of the tree.
func needs(ctx context.Context, from *deb.Archive) ([]ore.Package, error) {
	all, err := from.Needs(ctx, ore.Wish{Name: "dnf"}, ore.Wish{Name: "rpm"})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p ore.Package) bool {
		return slices.ContainsFunc(scripting[:], func(begin string) bool { return strings.HasPrefix(p.Name, begin) })
	}), nil
}

// sweep removes trees that were last used before the time given.
func sweep(ctx context.Context, trees string, before time.Time) error {
	list, err := os.ReadDir(trees)
	if err != nil {
		return err
	}
	for _, e := range list {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			if err := sandbox.Remove(ctx, filepath.Join(trees, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func key(packages []ore.Package) string {
	h := sha256.New()
	fmt.Fprintln(h, recipe)
	for _, p := range packages {
		fmt.Fprintln(h, p.Digest)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// flush writes the tree to the disk: a program that is empty after a power cut
// would keep its name for ever.
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

// unpackAll unpacks the packages, one after the other, so that a tree depends on
// nothing but them.
func unpackAll(ctx context.Context, dir string, from *deb.Archive, packages []ore.Package) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, d := range merged {
		if err := root.MkdirAll("usr/"+d, 0o755); err != nil {
			return err
		}
		if err := root.Symlink("usr/"+d, d); err != nil {
			return err
		}
	}
	for _, d := range []string{"dev", "proc", "sys", "tmp", "run", "root", "etc/rpm", "var/tmp", "in", "target"} {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	u := &unpacker{root: root}
	for _, p := range packages {
		name, err := from.Fetch(ctx, p)
		if err == nil {
			err = u.unpack(ctx, name)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", p, err)
		}
	}
	return nil
}

type unpacker struct {
	root     *os.Root
	decoders archive.Decoders
}

func (u *unpacker) unpack(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	deb, err := archive.Open(f, info.Size(), u.decoders.Decode)
	if err != nil {
		return err
	}
	files, err := deb.Files()
	if err != nil {
		return err
	}
	defer files.Close()
	for {
		h, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, files); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// entry writes one entry. Owners, devices and special bits are left out: what
// runs in the tree is root there anyway.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := place(h.Name)
	for _, d := range skipped {
		if name == d || strings.HasPrefix(name, d+"/") {
			return nil
		}
	}
	if h.Typeflag == tar.TypeDir {
		return u.root.MkdirAll(name, 0o755)
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if info, err := u.root.Lstat(name); err == nil && !info.IsDir() {
		if err := u.root.Remove(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeReg:
		return u.regular(name, h, content)
	case tar.TypeSymlink:
		return u.root.Symlink(target(name, h.Linkname), name)
	case tar.TypeLink:
		return u.root.Link(place(h.Linkname), name)
	}
	return nil
}

func (u *unpacker) regular(name string, h *tar.Header, content io.Reader) error {
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// target returns the target of a link at name as a relative one: through others
// packages cannot be unpacked below the tree's folder.
func target(name, link string) string {
	if !path.IsAbs(link) {
		return link
	}
	rel, err := filepath.Rel("/"+path.Dir(name), link)
	if err != nil {
		return link
	}
	return rel
}

// place returns the path that an entry has on a system with a merged /usr.
func place(name string) string {
	top, _, _ := strings.Cut(name, "/")
	for _, m := range merged {
		if top == m {
			return "usr/" + name
		}
	}
	return name
}
