package plain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ore/install/tree"
)

// Tree is a finished tree that lies in the folders of a build.
type Tree struct {
	Names map[string]*tree.Node // all that it has
	View  *tree.View            // where the content of its files lies
}

// Move gives the tree its place in w's folder. Files are moved, not copied, but
// to where another file system is mounted. So the folders of the build are of no
// use afterwards; and after an error what is in w's folder is not, either.
func (w Writer) Move(ctx context.Context, t Tree) error {
	names := slices.SortedFunc(maps.Keys(t.Names), tree.ComparePaths)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := t.Names[name]
		if !n.Mode.IsRegular() {
			if err := w.Frame(n); err != nil {
				return err
			}
			continue
		}
		from, _, err := t.View.Lstat(name)
		if err == nil {
			err = move(from, w.Path(name))
		}
		if err != nil {
			return fmt.Errorf("move /%s: %w", name, err)
		}
		if err := w.Own(n); err != nil {
			return err
		}
	}
	for _, name := range slices.Backward(names) {
		if n := t.Names[name]; n.Mode.IsDir() {
			if err := w.Own(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// originMark is what overlayfs leaves on files that it copied: where the copy is
// from, which says nothing any more.
const originMark = "trusted.overlay.origin"

// move moves a file to a name that nothing has.
func move(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EXDEV) {
		return bring(from, to)
	}
	if err != nil {
		return err
	}
	err = unix.Lremovexattr(to, originMark)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// bring copies a file to another file system.
func bring(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
