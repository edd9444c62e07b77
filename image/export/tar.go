package export

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"
)

// writeBuffer gathers small files and headers into writes worth a system call.
const writeBuffer = 1 << 20

// capabilityRecord is where archivers keep a file capability. Its value is the
// attribute's bytes.
const capabilityRecord = "SCHILY.xattr.security.capability"

// writeTar writes the merged tree to w.
func writeTar(ctx context.Context, w io.Writer, s *stack) error {
	tree, err := s.merged()
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, writeBuffer)
	if err := writeArchive(ctx, b, tree); err != nil {
		return err
	}
	return b.Flush()
}

// writeArchive writes list as a tar archive, with whiteouts as OCI has them.
func writeArchive(ctx context.Context, w io.Writer, list []entry) error {
	out := tar.NewWriter(w)
	for i := range list {
		e := &list[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Mode&fs.ModeSocket != 0 {
			continue
		}
		if err := writeEntry(ctx, out, e); err != nil {
			return fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return out.Close()
}

func writeEntry(ctx context.Context, out *tar.Writer, e *entry) error {
	h := header(e)
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	f, err := e.open()
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(obedient{ctx, out}, f)
	return err
}

// obedient is a Writer that ends when its context does. It stands on this side
// so that the layer's reader can hand over whole blocks without a copy.
type obedient struct {
	ctx context.Context
	w   io.Writer
}

func (o obedient) Write(b []byte) (int, error) {
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.w.Write(b)
}

// whiteoutPrefix marks an empty file that stands for a removed name (OCI image
// specification, layer.md).
const whiteoutPrefix = ".wh."

// header returns the header of e.
func header(e *entry) *tar.Header {
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    e.Path,
		Mode:    modeBits(e.Mode),
		Uid:     int(e.UID),
		Gid:     int(e.GID),
		ModTime: time.Unix(e.ModTime, 0),
	}
	if isWhiteout(e.Entry) {
		h.Typeflag, h.Mode = tar.TypeReg, 0o644
		h.Name = path.Join(path.Dir(e.Path), whiteoutPrefix+path.Base(e.Path))
		return h
	}
	if e.Hardlink != "" {
		h.Typeflag, h.Linkname = tar.TypeLink, e.Hardlink
		return h
	}
	switch e.Mode.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case fs.ModeNamedPipe:
		h.Typeflag = tar.TypeFifo
	case fs.ModeDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(e.Major), int64(e.Minor)
	case fs.ModeDevice | fs.ModeCharDevice:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(e.Major), int64(e.Minor)
	default:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
		if e.capability != nil {
			h.PAXRecords = map[string]string{capabilityRecord: string(e.capability)}
		}
	}
	return h
}

// modeBits returns the 12 bits of permissions.
func modeBits(m fs.FileMode) int64 {
	b := int64(m.Perm())
	if m&fs.ModeSetuid != 0 {
		b |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		b |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		b |= 0o1000
	}
	return b
}
