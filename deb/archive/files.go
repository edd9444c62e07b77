package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// Files is the stream of entries of a .deb's data member. It is used like a
// [tar.Reader]: Next goes to the next entry, Read reads that entry's content.
type Files struct {
	in    *bounded
	tar   *tar.Reader
	close io.Closer
	err   error // sticky, io.EOF included
}

// Next returns the next entry. Its Name, and the Linkname of a hard link, are
// relative and clean ("." is the tree itself); the target of a symbolic link
// is as the package has it. Only regular files, folders, links, devices and
// pipes come up. At the end the whole compressed stream has been read and
// checked, and Next returns io.EOF.
func (f *Files) Next() (*tar.Header, error) {
	if f.err != nil {
		return nil, f.err
	}
	h, err := f.next()
	if err != nil {
		f.err = err
	}
	return h, err
}

func (f *Files) next() (*tar.Header, error) {
	h, err := f.tar.Next()
	if err == io.EOF {
		// What follows the tar's end is padding, but the format's own checks
		// stand behind it.
		if _, err := io.Copy(io.Discard, f.in); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("tar: %w", noEOF(err))
	}
	if h.Name, err = cleanName(h.Name); err != nil {
		return nil, err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeLink:
		if h.Linkname, err = cleanName(h.Linkname); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("entry %q: tar type %q is not allowed in a package", h.Name, h.Typeflag)
	}
	return h, nil
}

// Read reads the content of the entry that Next returned last.
func (f *Files) Read(p []byte) (int, error) {
	n, err := f.tar.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// Close ends the decoder, early or late.
func (f *Files) Close() error {
	if f.err == nil {
		f.err = errors.New("closed")
	}
	return f.close.Close()
}

// bounded reads at most left bytes and then reports an error, where
// io.LimitReader would report the stream's end.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the member decodes to more than any package has")
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	return n, err
}
