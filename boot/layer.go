package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"ore/deb/shelf"
	"ore/squashfs"
)

// Modules returns a squashfs whose root is the guest's /lib/modules: one folder
// with the kernel's release as its name, and in it all modules and the indexes
// that modprobe reads. It is made when it is first asked for, which takes a
// second or so for a distribution's kernel.
func (b *Boot) Modules(ctx context.Context) (string, error) {
	image := b.made("modules", ".squashfs")
	err := b.make(image, func(f *os.File) error {
		var indexes string
		if _, err := os.Stat(filepath.Join(b.modules, "modules.dep")); errors.Is(err, fs.ErrNotExist) {
			dir, err := os.MkdirTemp("", "ore-depmod-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(dir)
			if indexes, err = b.depmod(ctx, dir); err != nil {
				return err
			}
		}
		return b.writeModules(ctx, f, indexes)
	})
	if err != nil {
		return "", fmt.Errorf("boot: modules of %s: %w", b.Kernel.Package, err)
	}
	return image, nil
}

// depmod makes the indexes, which a kernel's package leaves to its maintainer
// script, in a folder under dir that has links to what it reads.
func (b *Boot) depmod(ctx context.Context, dir string) (string, error) {
	depmod, err := b.config.Shelf.Program(ctx, "kmod", "usr/sbin/depmod")
	if err != nil {
		return "", err
	}
	indexes := filepath.Join(dir, "lib/modules", b.Kernel.Version)
	if err := os.MkdirAll(indexes, 0o755); err != nil {
		return "", err
	}
	list, err := os.ReadDir(b.modules)
	if err != nil {
		return "", err
	}
	for _, e := range list {
		if err := os.Symlink(filepath.Join(b.modules, e.Name()), filepath.Join(indexes, e.Name())); err != nil {
			return "", err
		}
	}
	return indexes, b.indexWith(ctx, depmod, dir)
}

// index writes the indexes of the modules that are laid out below dir.
func (b *Boot) index(ctx context.Context, dir string) error {
	depmod, err := b.config.Shelf.Program(ctx, "kmod", "usr/sbin/depmod")
	if err != nil {
		return err
	}
	return b.indexWith(ctx, depmod, dir)
}

func (b *Boot) indexWith(ctx context.Context, depmod *shelf.Program, dir string) error {
	if out, err := depmod.Command(ctx, "-b", dir, b.Kernel.Version).CombinedOutput(); err != nil {
		return fmt.Errorf("depmod: %w: %s", err, out)
	}
	return nil
}

// writeModules writes the image from the package's modules and from the
// indexes' folder, if there is one.
func (b *Boot) writeModules(ctx context.Context, f *os.File, indexes string) error {
	// Level 1: made while somebody waits, and read little.
	w, err := squashfs.NewWriter(f, squashfs.Options{Compression: squashfs.Zstd, Level: 1})
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		return err
	}
	from := []string{b.modules}
	if indexes != "" {
		from = append(from, indexes)
	}
	seen := map[string]bool{}
	for _, dir := range from {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			name := path.Join(b.Kernel.Version, strings.TrimPrefix(p, dir))
			if seen[name] {
				return nil
			}
			seen[name] = true
			return addFile(w, name, p, d)
		})
		if err != nil {
			return err
		}
	}
	return w.Close()
}

// packedLevel is zstd's for what is made once and then loaded by many machines
// over a network: half as large again at level 1, and no smaller beyond.
const packedLevel = 15

// writeFolder writes an image of a folder with links to files, under the
// kernel's release.
func (b *Boot) writeFolder(ctx context.Context, f *os.File, dir string) error {
	w, err := squashfs.NewWriter(f, squashfs.Options{Compression: squashfs.Zstd, Level: packedLevel})
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		return err
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.Type() == fs.ModeSymlink {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			d = fs.FileInfoToDirEntry(info)
		}
		return addFile(w, path.Join(b.Kernel.Version, strings.TrimPrefix(p, dir)), p, d)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// addFile adds one folder or regular file; links of the build tree (build,
// source) lead nowhere in a guest and are left out.
func addFile(w *squashfs.Writer, name, file string, d fs.DirEntry) error {
	if d.IsDir() {
		return w.Add(squashfs.Entry{Path: name, Mode: fs.ModeDir | 0o755}, nil)
	}
	if !d.Type().IsRegular() {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if small := withoutDebugging(file, info.Size()); small != nil {
		return w.Add(squashfs.Entry{Path: name, Mode: 0o644, Size: int64(len(small))}, bytes.NewReader(small))
	}
	return w.Add(squashfs.Entry{Path: name, Mode: 0o644, Size: info.Size()}, f)
}

// signed ends a module that is signed (the kernel's module_signature.h); a
// signature is one of all its bytes.
const signed = "~Module signature appended~\n"

// withoutDebugging returns what the kernel reads of a module, which for User Mode
// Linux is a quarter: hosts that have no modules yet are sent them. It returns
// nil for what is to stay as it is.
func withoutDebugging(file string, size int64) []byte {
	if filepath.Ext(file) != ".ko" || size > maxModule {
		return nil
	}
	full, err := os.ReadFile(file)
	if err != nil || bytes.HasSuffix(full, []byte(signed)) {
		return nil
	}
	small, err := strip(full)
	if err != nil {
		return nil // the kernel is who judges it
	}
	return small
}
