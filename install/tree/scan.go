package tree

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Found is an entry of a folder on the host's disk.
type Found struct {
	Path   string // relative to the scanned folder, "." for itself
	Host   string
	Stat   unix.Stat_t
	Opaque bool // a folder that hides the one below it (overlayfs)
}

// Whiteout tells whether f removes what lies below (overlayfs).
func (f *Found) Whiteout() bool { return f.Stat.Mode&unix.S_IFMT == unix.S_IFCHR && f.Stat.Rdev == 0 }

// Dir tells whether f is a folder.
func (f *Found) Dir() bool { return f.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Scan lists the folder dir and all below it, sorted by path, "." first. With
// opaque it also reads which folders overlayfs marked as opaque.
func Scan(dir string, opaque bool) ([]Found, error) {
	s := scanner{opaque: opaque}
	if err := s.add(".", dir); err != nil {
		return nil, fmt.Errorf("scan tree: %w", err)
	}
	slices.SortFunc(s.found, func(a, b Found) int { return ComparePaths(a.Path, b.Path) })
	return s.found, nil
}

// ComparePaths orders paths byte-wise with "." before all others.
func ComparePaths(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	return strings.Compare(a, b)
}

type scanner struct {
	opaque bool
	found  []Found
}

func (s *scanner) add(path, host string) error {
	f := Found{Path: path, Host: host}
	if err := unix.Lstat(host, &f.Stat); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !f.Dir() {
		s.found = append(s.found, f)
		return nil
	}
	if s.opaque {
		var err error
		if f.Opaque, err = isOpaque(host); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	s.found = append(s.found, f)
	names, err := names(host)
	if err != nil {
		return err
	}
	for _, name := range names {
		child := name
		if path != "." {
			child = path + "/" + name
		}
		if err := s.add(child, host+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

func names(host string) ([]string, error) {
	d, err := os.Open(host)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// isOpaque reads overlayfs's mark, which is in the namespace "user" where the
// overlay was mounted by an ordinary user (mount option userxattr).
func isOpaque(host string) (bool, error) {
	var buf [4]byte
	for _, name := range []string{"trusted.overlay.opaque", "user.overlay.opaque"} {
		n, err := unix.Lgetxattr(host, name, buf[:])
		switch {
		case err == nil && n == 1 && buf[0] == 'y':
			return true, nil
		case err == nil || errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EPERM):
		default:
			return false, fmt.Errorf("read overlay mark: %w", err)
		}
	}
	return false, nil
}
