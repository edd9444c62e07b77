package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

const (
	// maxControl bounds the decoded control member. The largest of Debian 12
	// hold a few MiB (md5sums of packages with 50,000 files).
	maxControl = 64 << 20
	// maxData bounds the decoded data member. The largest packages of Debian
	// unpack to some GiB; beyond this a decompression bomb is more likely.
	maxData = 64 << 30
	// maxVersion bounds the debian-binary member, which is "2.0\n".
	maxVersion = 256
)

// Deb is an opened Debian binary package. Its methods may be called by several
// goroutines at once; each call of [Deb.Files] decodes the data afresh.
type Deb struct {
	control map[string][]byte
	data    packed
}

// packed is a tar member and the way in which it is compressed.
type packed struct {
	r      io.ReaderAt
	m      member
	format string // "", "gz", "xz", "zst", "bz2" or "lzma"
	x      Decompress
}

// Open reads the frame and the control member of the .deb that is the first
// size bytes of r, which must stay readable as long as the Deb is in use.
// A nil x decodes in this process.
func Open(r io.ReaderAt, size int64, x Decompress) (*Deb, error) {
	control, data, err := frame(r, size, x)
	if err != nil {
		return nil, fmt.Errorf("open deb: %w", err)
	}
	d := &Deb{control: map[string][]byte{}, data: data}
	err = control.each(maxControl, func(h *tar.Header, body io.Reader) (bool, error) {
		if h.Typeflag != tar.TypeReg {
			return false, nil
		}
		b, err := io.ReadAll(body)
		d.control[h.Name] = b
		return false, err
	})
	if err != nil {
		return nil, fmt.Errorf("open deb: control member: %w", err)
	}
	if len(d.control["control"]) == 0 {
		return nil, errors.New("open deb: control member: no control file")
	}
	return d, nil
}

// ReadControl returns the control file alone. It decodes no more of the .deb
// than it must, so a package that it accepts may still be refused by [Open].
func ReadControl(r io.ReaderAt, size int64) ([]byte, error) {
	control, _, err := frame(r, size, nil)
	if err != nil {
		return nil, fmt.Errorf("read control: %w", err)
	}
	var found []byte
	err = control.each(maxControl, func(h *tar.Header, body io.Reader) (bool, error) {
		if h.Typeflag != tar.TypeReg || h.Name != "control" {
			return false, nil
		}
		b, err := io.ReadAll(body)
		found = b
		return true, err
	})
	if err == nil && len(found) == 0 {
		err = errors.New("no control file")
	}
	if err != nil {
		return nil, fmt.Errorf("read control: %w", err)
	}
	return found, nil
}

// frame finds the two tar members of a .deb and checks its version and the
// members' order (deb(5), FORMAT).
func frame(r io.ReaderAt, size int64, x Decompress) (control, data packed, err error) {
	list, err := members(r, size)
	if err != nil {
		return control, data, err
	}
	if len(list) == 0 || list[0].name != "debian-binary" {
		return control, data, errors.New("the first member is not debian-binary")
	}
	if err := checkVersion(r, list[0]); err != nil {
		return control, data, err
	}
	var found []packed
	for _, m := range list[1:] {
		if len(found) == 2 {
			break // deb(5): whatever follows data.tar is to be ignored
		}
		if strings.HasPrefix(m.name, "_") {
			continue // deb(5): members that later versions may insert
		}
		want := [...]string{"control.tar", "data.tar"}[len(found)]
		rest, ok := strings.CutPrefix(m.name, want)
		format := strings.TrimPrefix(rest, ".")
		if !ok || (rest != "" && rest[0] != '.') || !known(format) {
			return control, data, fmt.Errorf("member %q where a %s was expected", m.name, want)
		}
		found = append(found, packed{r: r, m: m, format: format, x: x})
	}
	if len(found) < 2 {
		return control, data, errors.New("control.tar or data.tar is missing")
	}
	return found[0], found[1], nil
}

// checkVersion accepts the formats 2.x.
func checkVersion(r io.ReaderAt, m member) error {
	if m.size > maxVersion {
		return fmt.Errorf("debian-binary has %d bytes", m.size)
	}
	b := make([]byte, m.size)
	if n, err := r.ReadAt(b, m.offset); n < len(b) {
		return fmt.Errorf("debian-binary: %w", noEOF(err))
	}
	line, _, ok := strings.Cut(string(b), "\n")
	if !ok || !strings.HasPrefix(line, "2.") {
		return fmt.Errorf("debian-binary says %q: only the formats 2.x are known", line)
	}
	return nil
}

// Control returns the files of the control member by name, such as "control",
// "postinst" or "conffiles". The map and its values are the Deb's own.
func (d *Deb) Control() map[string][]byte { return d.control }

// Data returns the data member as a plain tar stream. Names are as the archive
// has them, and the compressed format's checks are made only if the stream
// below is read beyond the tar's end: prefer [Deb.Files]. The closer ends the
// decoder, early or late, and must be called.
func (d *Deb) Data() (*tar.Reader, io.Closer, error) {
	rc, err := d.data.open()
	if err != nil {
		return nil, nil, fmt.Errorf("read deb: data member: %w", err)
	}
	return tar.NewReader(rc), rc, nil
}

// Files returns the entries of the data member. The caller closes it.
func (d *Deb) Files() (*Files, error) {
	f, err := d.data.files(maxData)
	if err != nil {
		return nil, fmt.Errorf("read deb: data member: %w", err)
	}
	return f, nil
}

// open returns the decoded member.
func (p packed) open() (io.ReadCloser, error) {
	section := io.NewSectionReader(p.r, p.m.offset, p.m.size)
	if p.x != nil && p.format != "" {
		return p.x(p.format, section)
	}
	return Decode(p.format, section)
}

func (p packed) files(limit int64) (*Files, error) {
	rc, err := p.open()
	if err != nil {
		return nil, err
	}
	in := &bounded{r: rc, left: limit}
	return &Files{in: in, tar: tar.NewReader(in), close: rc}, nil
}

// each calls f with every entry until f says that it is done.
func (p packed) each(limit int64, f func(*tar.Header, io.Reader) (done bool, err error)) error {
	files, err := p.files(limit)
	if err != nil {
		return err
	}
	for {
		h, err := files.Next()
		if err == io.EOF {
			return files.Close()
		}
		var done bool
		if err == nil {
			done, err = f(h, files)
		}
		if err != nil || done {
			return errors.Join(err, files.Close())
		}
	}
}

// cleanName returns the relative, slash-separated form of a tar entry's name.
// Like dpkg it takes "./usr", "/usr" and "usr" for the same; a name that leads
// upwards is refused.
func cleanName(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("entry %q: leads out of the tree", name)
		}
	}
	c := strings.TrimPrefix(path.Clean("/"+name), "/")
	if c == "" {
		c = "."
	}
	if strings.ContainsRune(c, 0) {
		return "", fmt.Errorf("entry %q: a NUL in the name", name)
	}
	return c, nil
}
