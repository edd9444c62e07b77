package pack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"ore/deb/archive"
	"ore/install/tree"
	"ore/squashfs"
)

// paxCapability is where GNU tar and dpkg-deb keep a file capability.
const paxCapability = "SCHILY.xattr.security.capability"

// maxConffile bounds the configuration files whose MD5 is taken: the largest of
// Debian 12 has some 300 KiB.
const maxConffile = 16 << 20

// maker writes one package's content, entry by entry.
type maker struct {
	*stored
	w      *squashfs.Writer
	sink   Sink
	listed map[string]bool // conffiles
}

// next takes one entry of files; io.EOF is the end.
func (m *maker) next(files *archive.Files) error {
	h, err := files.Next()
	if err != nil {
		return err
	}
	n, err := node(h)
	if err != nil {
		return err
	}
	m.Nodes = append(m.Nodes, n)
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	if err := m.content(len(m.Nodes)-1, files); err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	return nil
}

// content stores the content of regular file i.
func (m *maker) content(i int, r io.Reader) error {
	n := &m.Nodes[i]
	if m.listed[n.Path] {
		b, err := io.ReadAll(io.LimitReader(r, maxConffile+1))
		if err != nil {
			return err
		}
		if len(b) > maxConffile {
			return errors.New("a configuration file of more than 16 MiB")
		}
		m.Conffiles[n.Path] = md5Hex(b)
		r = bytes.NewReader(b)
	}
	hash := sha256.New()
	out := io.Writer(hash)
	var file io.WriteCloser
	if m.sink != nil {
		var err error
		if file, err = m.sink(i, n); err != nil {
			return err
		}
		if file != nil {
			out = io.MultiWriter(hash, file)
		}
	}
	e := squashfs.Entry{Path: strconv.Itoa(i), Mode: 0o644, Size: n.Size}
	err := m.w.Add(e, io.TeeReader(r, out))
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	n.Sum = [sha256.Size]byte(hash.Sum(nil))
	return err
}

// node translates a tar header. Owners are taken by number: those that packages
// may ship have fixed numbers (Policy 9.2.2).
func node(h *tar.Header) (tree.Node, error) {
	if h.Uid < 0 || h.Gid < 0 || h.Uid > 1<<31 || h.Gid > 1<<31 {
		return tree.Node{}, fmt.Errorf("entry %q: owner %d:%d is out of range", h.Name, h.Uid, h.Gid)
	}
	n := tree.Node{Entry: squashfs.Entry{
		Path: h.Name, Mode: tree.GoMode(uint32(h.Mode) & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid),
		ModTime: max(0, min(h.ModTime.Unix(), 1<<32-1)),
	}}
	switch h.Typeflag {
	case tar.TypeReg:
		n.Size = h.Size
	case tar.TypeLink:
		n.Hardlink = h.Linkname
	case tar.TypeSymlink:
		n.Mode |= fs.ModeSymlink
		n.Link = h.Linkname
	case tar.TypeDir:
		n.Mode |= fs.ModeDir
	case tar.TypeFifo:
		n.Mode |= fs.ModeNamedPipe
	case tar.TypeChar, tar.TypeBlock:
		n.Mode |= fs.ModeDevice
		if h.Typeflag == tar.TypeChar {
			n.Mode |= fs.ModeCharDevice
		}
		n.Major, n.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	default:
		return n, fmt.Errorf("entry %q: tar type %q is not known", h.Name, h.Typeflag)
	}
	if c := h.PAXRecords[paxCapability]; c != "" {
		n.Capability = []byte(c)
	}
	return n, nil
}
