package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The layout of ar(5).
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arNameSize   = 16
	arSizeAt     = 48
	arEndAt      = 58
	arEnd        = "`\n"
)

// maxMembers bounds the members of a .deb: three are used, and deb(5) lets
// future versions add a few whose names begin with an underscore.
const maxMembers = 16

// member is one file of an ar archive.
type member struct {
	name   string
	offset int64
	size   int64
}

// members lists the files of the ar archive that is the first size bytes of r.
func members(r io.ReaderAt, size int64) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if _, err := r.ReadAt(magic, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(magic) != arMagic {
		return nil, errors.New("not an ar archive")
	}
	var list []member
	for at := int64(len(arMagic)); at < size; {
		if len(list) == maxMembers {
			return nil, fmt.Errorf("more than %d members", maxMembers)
		}
		m, err := readMember(r, at, size)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
		at = m.offset + m.size + m.size&1 // members begin at even offsets
	}
	return list, nil
}

// readMember decodes the member header at offset at.
func readMember(r io.ReaderAt, at, size int64) (member, error) {
	h := make([]byte, arHeaderSize)
	if size-at < arHeaderSize {
		return member{}, fmt.Errorf("member header at %d: %w", at, io.ErrUnexpectedEOF)
	}
	if n, err := r.ReadAt(h, at); n < len(h) {
		return member{}, fmt.Errorf("member header at %d: %w", at, noEOF(err))
	}
	if string(h[arEndAt:]) != arEnd {
		return member{}, fmt.Errorf("member header at %d: bad end mark", at)
	}
	name := strings.TrimSuffix(string(bytes.TrimRight(h[:arNameSize], " ")), "/")
	digits := string(bytes.TrimRight(h[arSizeAt:arEndAt], " "))
	n, err := strconv.ParseUint(digits, 10, 62)
	if err != nil {
		return member{}, fmt.Errorf("member %q: size %q: not a number", name, digits)
	}
	m := member{name: name, offset: at + arHeaderSize, size: int64(n)}
	if m.size > size-m.offset {
		return member{}, fmt.Errorf("member %q: %d bytes, only %d there: %w", name, m.size, size-m.offset, io.ErrUnexpectedEOF)
	}
	return m, nil
}

// noEOF returns err, or io.ErrUnexpectedEOF where err says that a file ended.
func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
