package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Grip is a job's folder held open. It is known by what it is and not by its
// path: when its job has died, somebody else may have made another of that name.
type Grip struct {
	path string
	root *os.Root
}

// Hold opens a folder for its removal later.
func Hold(folder string) (*Grip, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("hold %s: %w", folder, err)
	}
	return &Grip{folder, root}, nil
}

// Close lets go of the folder and leaves it where it is.
func (g *Grip) Close() error { return g.root.Close() }

// Remove removes what is in the folder, and the folder itself if it still has
// its path, and lets go of it. That somebody has done so already is no error.
func (g *Grip) Remove() error {
	defer g.root.Close()
	list, err := fs.ReadDir(g.root.FS(), ".")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrClosed) {
			return nil
		}
		return fmt.Errorf("remove %s: %w", g.path, err)
	}
	var errs []error
	for _, e := range list {
		errs = append(errs, g.root.RemoveAll(e.Name()))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove %s: %w", g.path, err)
	}
	if same, err := g.there(); err != nil || !same {
		return err
	}
	if err := os.Remove(g.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", g.path, err)
	}
	return nil
}

// there says whether the folder still has its path.
func (g *Grip) there() (bool, error) {
	mine, err := g.root.Stat(".")
	if err != nil {
		return false, err
	}
	now, err := os.Lstat(g.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, now), err
}

// unheld says whether nobody holds the folder's lock, and gives it, shared with
// others who look, so that nobody takes it while the folder is removed. A folder
// without a lock is unheld if it is not fresh.
func (g *Grip) unheld() (lock *os.File, ok bool) {
	f, err := g.root.OpenFile(lockName, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		info, err := g.root.Stat(".")
		return nil, err == nil && !fresh(info)
	}
	if err != nil {
		return nil, false
	}
	if err := lookLock(f); err != nil {
		f.Close()
		return nil, false
	}
	return f, true
}

// sweep removes the folder id if its supervisor is gone. It looks at the lock of
// the folder that it then removes, whatever has its path by then.
func (b Book) sweep(id string) (removed bool, err error) {
	g, err := Hold(filepath.Clean(b.Folder(id)))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	lock, ok := g.unheld()
	if lock != nil {
		defer lock.Close()
	}
	if !ok {
		return false, g.Close()
	}
	return true, g.Remove()
}
