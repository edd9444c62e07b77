package shelf

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb/archive"
)

// program is an executable of the main package that wants a loader.
type program struct {
	path   string
	interp string
}

// unpacker fills one tree.
type unpacker struct {
	root     *os.Root
	programs []program // of the package that was unpacked last
	files    int       // likewise, those that are more than documentation
}

// merged are the folders that a merged-/usr system has as links to the same
// name under /usr. Packages from before the merge name them directly.
func merged() []string { return []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} }

// skipped tells whether a path is documentation, which nothing on the shelf
// is asked for.
func skipped(name string) bool {
	for _, d := range []string{"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bug"} {
		if name == d || strings.HasPrefix(name, d+"/") {
			return true
		}
	}
	return false
}

// newUnpacker starts an empty tree in dir, which it makes.
func newUnpacker(dir string) (*unpacker, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range merged() {
		if err := root.MkdirAll("usr/"+d, 0o755); err == nil {
			err = root.Symlink("usr/"+d, d)
		}
		if err != nil {
			root.Close()
			return nil, err
		}
	}
	return &unpacker{root: root}, nil
}

// unpack adds the package in the .deb at file to the tree, checks the .deb's
// digest meanwhile, and returns its control paragraph.
func (u *unpacker) unpack(ctx context.Context, p ore.Package, file string) (control []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.Go(func() error { return verify(ctx, io.NewSectionReader(f, 0, info.Size()), p) })
	u.programs, u.files = nil, 0
	control, err = u.extract(ctx, f, info.Size())
	// A wrong digest is the reason behind whatever else went wrong.
	if verr := g.Wait(); verr != nil {
		return nil, verr
	}
	return control, err
}

// verify compares a .deb with what the archive says of it.
func verify(ctx context.Context, r io.Reader, p ore.Package) error {
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, r}); err != nil {
		return err
	}
	if got := digestOf(h); got != p.Digest {
		return fmt.Errorf("the .deb of %s has digest %s, not %s: remove it and fetch it again", p, got, p.Digest)
	}
	return nil
}

func digestOf(h hash.Hash) ore.Digest { return ore.NewDigest([sha256.Size]byte(h.Sum(nil))) }

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// extract writes the files of a .deb into the tree.
func (u *unpacker) extract(ctx context.Context, r io.ReaderAt, size int64) ([]byte, error) {
	deb, err := archive.Open(r, size, nil)
	if err != nil {
		return nil, err
	}
	files, err := deb.Files()
	if err != nil {
		return nil, err
	}
	defer files.Close()
	for {
		h, err := files.Next()
		if err == io.EOF {
			return deb.Control()["control"], nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		if skipped(h.Name) {
			continue
		}
		if err := u.entry(h, files); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

// entry writes one entry. Owners, devices and special bits are left out:
// everything on the shelf belongs to who unpacked it.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name := place(h.Name)
	if h.Typeflag == tar.TypeDir {
		return u.root.MkdirAll(name, 0o755)
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		u.files++
		return u.regular(name, h, content)
	case tar.TypeSymlink:
		u.files++
		if err := u.clear(name); err != nil {
			return err
		}
		return u.root.Symlink(target(name, h.Linkname), name)
	case tar.TypeLink:
		if err := u.clear(name); err != nil {
			return err
		}
		return u.root.Link(place(h.Linkname), name)
	}
	return nil
}

// clear makes way for a file of another package.
func (u *unpacker) clear(name string) error {
	if info, err := u.root.Lstat(name); err != nil || info.IsDir() {
		return nil
	}
	return u.root.Remove(name)
}

func (u *unpacker) regular(name string, h *tar.Header, content io.Reader) error {
	if err := u.clear(name); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	f, err := u.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if mode == 0o755 && !strings.Contains(path.Base(name), ".so") {
		interp, _, err := interpreter(f)
		if err != nil {
			return err
		}
		if interp != "" {
			u.programs = append(u.programs, program{path: name, interp: interp})
		}
	}
	return f.Close()
}

// place returns the path that an entry has on a system with a merged /usr.
func place(name string) string {
	top, _, _ := strings.Cut(name, "/")
	if slices.Contains(merged(), top) {
		return "usr/" + name
	}
	return name
}

// target returns what the symbolic link at name has to hold so that it stays
// inside the tree and means there what to means in a whole system.
func target(name, to string) string {
	if !path.IsAbs(to) {
		to = path.Join("/"+path.Dir(name), to)
	}
	abs := "/" + place(strings.TrimPrefix(path.Clean(to), "/"))
	rel, err := filepath.Rel("/"+path.Dir(name), abs)
	if err != nil {
		return abs // both are absolute, so this does not happen
	}
	return rel
}

// readDir lists the names in a folder of root.
func readDir(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}
