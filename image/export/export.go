package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore/image"
)

// Format is a form that an image can be exported to.
type Format string

// The formats.
const (
	Tar   Format = "tar"
	OCI   Format = "oci"
	Ext4  Format = "ext4"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk"
)

// endings says which names mean which format. A layout is a folder, whose name
// needs no dot.
func endings() []struct {
	ending string
	format Format
} {
	return []struct {
		ending string
		format Format
	}{
		{".tar", Tar}, {".oci", OCI}, {"-oci", OCI},
		{".ext4", Ext4}, {".raw", Ext4}, {".img", Ext4},
		{".qcow2", QCOW2}, {".vmdk", VMDK},
	}
}

// ParseFormat returns the format that is called so, or, if format is "", the
// one that path's ending means.
func ParseFormat(format, path string) (Format, error) {
	all := []Format{Tar, OCI, Ext4, QCOW2, VMDK}
	if slices.Contains(all, Format(format)) {
		return Format(format), nil
	}
	if format != "" {
		return "", fmt.Errorf("format %q: not known: choose one of tar, oci, ext4, qcow2, vmdk", format)
	}
	name := filepath.Base(path)
	if name == "oci" {
		return OCI, nil
	}
	for _, e := range endings() {
		if strings.HasSuffix(name, e.ending) {
			return e.format, nil
		}
	}
	return "", fmt.Errorf("export to %s: its ending says no format: name a format (tar, oci, ext4, qcow2, vmdk) or end the name in .tar, .oci, -oci, .ext4, .raw, .img, .qcow2 or .vmdk", path)
}

// Target is where an image goes and in which form.
type Target struct {
	Format Format
	Path   string // of the file, or for OCI of the folder
	Size   int64  // of the file system in ext4, qcow2 and vmdk, in bytes; 0 means as much as the tree takes, a quarter more, and 64 MiB
}

// Write writes image m, whose layers are in s, to path. See [Target.Write].
func Write(ctx context.Context, s *image.Store, m image.Manifest, f Format, path string) error {
	return Target{Format: f, Path: path}.Write(ctx, s, m)
}

// Write writes image m, whose layers are in s. The result appears whole: after
// an error, or when ctx ends, nothing is left. What a killed process leaves, of
// a layout or where the file system has no files without a name, the next export
// to the same path removes. A file that exists is replaced;
// a folder is not, unless it is empty.
func (t Target) Write(ctx context.Context, s *image.Store, m image.Manifest) error {
	if err := t.write(ctx, s, m); err != nil {
		return fmt.Errorf("export to %s: %w", t.Path, err)
	}
	return nil
}

func (t Target) write(ctx context.Context, s *image.Store, m image.Manifest) error {
	if err := t.check(); err != nil {
		return err
	}
	release, err := s.Hold(ctx, m)
	if err != nil {
		return err
	}
	defer release()
	stack, err := openLayers(s, m)
	if err != nil {
		return err
	}
	defer stack.close()
	path := filepath.Clean(t.Path)
	if t.Format == OCI {
		return t.placeLayout(ctx, path, stack)
	}
	return place(path, func(f *os.File) error {
		var err error
		if t.Format == Tar {
			err = writeTar(ctx, f, stack)
		} else {
			err = t.writeDisk(ctx, f, stack)
		}
		if err != nil {
			return err
		}
		return ctx.Err()
	})
}

// placeLayout writes a layout, which is a folder at path as a whole.
func (t Target) placeLayout(ctx context.Context, path string, s *stack) error {
	dir, done, err := partFolder(path)
	if err != nil {
		return err
	}
	part := filepath.Join(dir, "part")
	if err = writeOCI(ctx, part, s); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(part, path)
	}
	return errors.Join(err, done())
}

// check finds what would fail only after all work was done.
func (t Target) check() error {
	if _, err := ParseFormat(string(t.Format), t.Path); err != nil || t.Format == "" {
		return fmt.Errorf("format %q: not known: choose one of tar, oci, ext4, qcow2, vmdk", t.Format)
	}
	info, err := os.Stat(t.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case t.Format != OCI && info.IsDir():
		return fmt.Errorf("a folder: %s is written to a file: choose another name", t.Format)
	case t.Format != OCI:
		return nil
	case !info.IsDir():
		return errors.New("a file: an OCI layout is a folder: choose another name")
	}
	list, err := os.ReadDir(t.Path)
	if err == nil && len(list) > 0 {
		return errors.New("the folder is not empty: remove it or choose another name")
	}
	return err
}
