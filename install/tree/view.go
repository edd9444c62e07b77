package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links the kernel follows in one path (path_resolution(7)).
const maxLinks = 40

// View is a tree made of folders lying over each other, as overlayfs would
// show it, without being mounted. The topmost is written to. Paths are relative
// to the tree ("usr/bin/env"). A View remembers which folders exist, so it must
// not be kept while scripts change the tree. It is used by one goroutine.
type View struct {
	layers []string // topmost first
	owners Owners
	dirs   map[string]string // folder as named -> its place without symbolic links
	made   map[string]bool   // places that exist in the topmost folder
}

// NewView returns the view of the folders, topmost first.
func NewView(owners Owners, layers ...string) *View {
	return &View{layers: layers, owners: owners, dirs: map[string]string{".": "."}, made: map[string]bool{".": true}}
}

// Host returns the host's path of the place p in the topmost folder.
func (v *View) Host(p string) string { return v.layers[0] + "/" + p }

// Lstat finds the place p, whose parents have no symbolic links. Where it was
// removed or never was, the error matches fs.ErrNotExist. It also tells the
// host's path of what it found.
func (v *View) Lstat(p string) (string, unix.Stat_t, error) {
	var st unix.Stat_t
	for _, l := range v.layers {
		host := l + "/" + p
		err := unix.Lstat(host, &st)
		switch {
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
			return "", st, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
		case err == nil:
			return host, st, nil
		case errors.Is(err, unix.ENOENT):
		case errors.Is(err, unix.ENOTDIR):
			return "", st, fmt.Errorf("%s: %w", p, fs.ErrNotExist) // a file of this layer hides the folder below
		default:
			return "", st, fmt.Errorf("%s: %w", p, err)
		}
	}
	return "", st, fmt.Errorf("%s: %w", p, fs.ErrNotExist)
}

// Resolve returns the place of the folder dir: symbolic links are followed as
// if the tree were "/". If it does not exist, the error matches fs.ErrNotExist.
func (v *View) Resolve(dir string) (string, error) { return v.resolve(dir, maxLinks) }

func (v *View) resolve(dir string, links int) (string, error) {
	if p, ok := v.dirs[dir]; ok {
		return p, nil
	}
	if links == 0 {
		return "", fmt.Errorf("%s: %w", dir, unix.ELOOP)
	}
	parent, err := v.resolve(path.Dir(dir), links)
	if err != nil {
		return "", err
	}
	place := path.Join(parent, path.Base(dir))
	host, st, err := v.Lstat(place)
	if err != nil {
		return "", err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFLNK:
		target, err := os.Readlink(host)
		if err != nil {
			return "", err
		}
		if place, err = v.resolve(Inside(parent, target), links-1); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("%s: %w", dir, unix.ENOTDIR)
	}
	v.dirs[dir] = place
	return place, nil
}

// Inside returns where the target of a symbolic link in folder dir leads,
// within the tree: ".." stops at the root.
func Inside(dir, target string) string {
	if !strings.HasPrefix(target, "/") {
		target = "/" + dir + "/" + target
	}
	if p := strings.TrimPrefix(path.Clean(target), "/"); p != "" {
		return p
	}
	return "."
}

// Place returns the place of name, whose own last part may be a symbolic link,
// and sees to it that its folder exists in the topmost layer. A folder that no
// package brought is made with mode 0755.
func (v *View) Place(name string) (string, error) {
	if name == "." {
		return ".", nil
	}
	parent, err := v.Resolve(path.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		if parent, err = v.Place(path.Dir(name)); err == nil {
			err = v.mkdir(parent, 0o755, 0, 0)
			v.dirs[path.Dir(name)] = parent
		}
	}
	if err != nil {
		return "", err
	}
	if err := v.lift(parent); err != nil {
		return "", err
	}
	return path.Join(parent, path.Base(name)), nil
}

// lift makes the folder at the place p, which exists below, in the topmost
// layer too, with the same mode and owner, as overlayfs does.
func (v *View) lift(p string) error {
	if v.made[p] {
		return nil
	}
	if err := v.lift(path.Dir(p)); err != nil {
		return err
	}
	host, _, err := v.Lstat(p)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(host, v.layers[0]+"/") {
		o, err := v.owners.Owner(host)
		if err != nil {
			return err
		}
		if err := v.mkdir(p, UnixMode(o.Mode), o.UID, o.GID); err != nil {
			return err
		}
	}
	v.made[p] = true
	return nil
}

func (v *View) mkdir(p string, mode, uid, gid uint32) error {
	host := v.Host(p)
	if err := unix.Mkdir(host, mode); err != nil {
		return fmt.Errorf("make folder %s: %w", p, err)
	}
	v.made[p] = true
	return v.own(host, place{mode, uid, gid, mode&^0o022 != mode})
}

// place is what a new entry is meant to be.
type place struct {
	mode, uid, gid uint32
	chmod          bool // the mode has to be set too, since the umask hid it
}

// own sets the owner and, where chown clears it or the umask hid it, the mode.
func (v *View) own(host string, p place) error {
	mode, uid, gid, chmod := p.mode, p.uid, p.gid, p.chmod
	if uid != 0 || gid != 0 {
		if err := v.owners.Chown(host, int(uid), int(gid)); err != nil {
			return err
		}
		chmod = true
	}
	if chmod {
		if err := unix.Chmod(host, mode); err != nil {
			return fmt.Errorf("chmod %s: %w", host, err)
		}
	}
	return nil
}

// WriteFile puts a file of root's with the given content at name, replacing
// what is there.
func (v *View) WriteFile(name string, mode uint32, content []byte) error {
	p, err := v.Place(name)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	host := v.Host(p)
	if err := os.Remove(host); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.WriteFile(host, content, fs.FileMode(mode)&fs.ModePerm); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return v.own(host, place{mode: mode, chmod: mode&^0o022 != mode})
}

// ReadFile reads the file at name; if there is none, it returns nothing.
func (v *View) ReadFile(name string) ([]byte, error) {
	parent, err := v.Resolve(path.Dir(name))
	if err == nil {
		var host string
		if host, _, err = v.Lstat(path.Join(parent, path.Base(name))); err == nil {
			var b []byte
			if b, err = os.ReadFile(filepath.Clean(host)); err == nil {
				return b, nil
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return nil, fmt.Errorf("read %s: %w", name, err)
}

// Mkdir sees to it that name is a folder; one that exists is left as it is.
func (v *View) Mkdir(name string, mode, uid, gid uint32) error {
	if _, err := v.Resolve(name); err == nil {
		return nil
	}
	p, err := v.Place(name)
	if err != nil {
		return err
	}
	if err := v.clear(p); err != nil {
		return err
	}
	v.dirs[name] = p
	return v.mkdir(p, mode, uid, gid)
}

// clear removes what is at the place p of the topmost layer, folders excepted.
func (v *View) clear(p string) error {
	if err := unix.Unlink(v.Host(p)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("replace %s: %w", p, err)
	}
	return nil
}
