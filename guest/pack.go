package guest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Pack writes a tar stream of host files and folders, each under its base
// name, as [Conn.Put] takes it. A path that is itself a symbolic link is
// followed; links inside of folders stay links. Devices, pipes and sockets
// inside of folders are left out.
func Pack(w io.Writer, paths []string) error {
	p := newPacker(w)
	taken := make(map[string]string)
	for _, file := range paths {
		name := filepath.Base(file)
		if other, ok := taken[name]; ok {
			return fmt.Errorf("pack %s: %s has the same base name: rename one of them", file, other)
		}
		taken[name] = file
		if err := p.followed(file, name); err != nil {
			return fmt.Errorf("pack %s: %w", file, err)
		}
	}
	return p.tar.Close()
}

// PackMatches writes a tar stream of all that matches one of the patterns
// (path.Match) in dir, folders with all that is in them. Each name comes once.
func PackMatches(w io.Writer, dir *os.Root, patterns []string) error {
	p := newPacker(w)
	seen := make(map[string]bool)
	for _, pattern := range patterns {
		names, err := matches(dir, path.Clean(pattern))
		if err != nil {
			return fmt.Errorf("pack %q: %w", pattern, err)
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			if err := p.tree(dir, name, name); err != nil {
				return fmt.Errorf("pack %s: %w", name, err)
			}
		}
	}
	return p.tar.Close()
}

// matches returns what matches pattern in dir. A pattern that is a name matches
// whatever has it, as one with a star would: also a link that leads nowhere or
// out of dir, which its receiver has an opinion of.
func matches(dir *os.Root, pattern string) ([]string, error) {
	if strings.ContainsAny(pattern, `*?[\`) {
		return fs.Glob(dir.FS(), pattern)
	}
	_, err := dir.Lstat(pattern)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	return []string{pattern}, err
}

// inode names a file whatever its path.
type inode struct{ dev, ino uint64 }

type packer struct {
	tar   *tar.Writer
	names map[inode]string // of files with several names that were written
	buf   []byte
}

// packBuffer is the unit of copying: few system calls, little memory.
const packBuffer = 128 << 10

func newPacker(w io.Writer) *packer {
	return &packer{tar: tar.NewWriter(w), names: make(map[inode]string), buf: make([]byte, packBuffer)}
}

func (p *packer) followed(file, name string) error {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(filepath.Dir(real))
	if err != nil {
		return err
	}
	defer dir.Close()
	fi, err := dir.Lstat(filepath.Base(real))
	if err != nil {
		return err
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return errors.New("neither a file nor a folder")
	}
	return p.tree(dir, filepath.Base(real), name)
}

// tree writes what is at file in dir, under name.
func (p *packer) tree(dir *os.Root, file, name string) error {
	fi, err := dir.Lstat(file)
	if err != nil {
		return err
	}
	switch {
	case fi.IsDir():
		return p.folder(dir, fi, file, name)
	case fi.Mode().IsRegular():
		return p.file(dir, file, name)
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := dir.Readlink(file)
		if err != nil {
			return err
		}
		return p.header(fi, name, target)
	}
	return nil
}

func (p *packer) header(fi fs.FileInfo, name, link string) error {
	h, err := tar.FileInfoHeader(fi, link)
	if err != nil {
		return err
	}
	h.Name = name
	if fi.IsDir() {
		h.Name += "/"
	}
	// The receiver owns what it unpacks: names and times of this side's
	// accounts are not its business.
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	return p.tar.WriteHeader(h)
}

func (p *packer) folder(dir *os.Root, fi fs.FileInfo, file, name string) error {
	if err := p.header(fi, name, ""); err != nil {
		return err
	}
	f, err := dir.Open(file)
	if err != nil {
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := p.tree(dir, path.Join(file, e.Name()), path.Join(name, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return err
		}
	}
	return nil
}

func (p *packer) file(dir *os.Root, file, name string) error {
	// A pipe that took the file's place must not block.
	f, err := dir.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && st.Nlink > 1 {
		id := inode{uint64(st.Dev), st.Ino}
		if first, ok := p.names[id]; ok {
			return p.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, ModTime: fi.ModTime()})
		}
		p.names[id] = name
	}
	if err := p.header(fi, name, ""); err != nil {
		return err
	}
	// A file that grows meanwhile is taken as it was; one that shrinks
	// cannot be written any more, since its size stands in the header.
	n, err := io.CopyBuffer(struct{ io.Writer }{p.tar}, struct{ io.Reader }{io.LimitReader(f, fi.Size())}, p.buf)
	if err == nil && n < fi.Size() {
		err = errors.New("became shorter while it was read")
	}
	return err
}
