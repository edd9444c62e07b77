package image

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"

	"ore"
)

// Listing computes a tree digest: the SHA-256 of one line for every entry of
// the merged tree, in the order of their paths (byte-wise, "." first). A line is
//
//	path NUL type mode uid gid NUL what NUL capability LF
//
// where type is one letter (d f l c b p s), mode the permission bits in octal,
// and what the content's SHA-256 in hex for a file, the target for a link,
// "major:minor" for a device, and empty for the rest. Times are left out: they
// are the same wherever the bytes are, since the layer's writer sets them, but
// they are no part of what was asked. A hard link is listed as a file of its own.
//
// Listing is not safe for concurrent use.
type Listing struct {
	h     hash.Hash
	w     *bufio.Writer
	last  string
	begun bool
}

// Item is one line of a listing.
type Item struct {
	Path       string // relative, clean; "." for the root
	Type       byte   // d f l c b p s
	Mode       uint32 // permission bits with setuid, setgid and sticky
	UID, GID   uint32
	Content    [sha256.Size]byte // of a file
	Link       string            // of a symbolic link
	Major      uint32            // of a device
	Minor      uint32            // of a device
	Capability []byte            // security.capability, nil for none
}

// NewListing starts an empty listing. If text is not nil, the lines go there
// too, for people to compare.
func NewListing(text io.Writer) *Listing {
	h := sha256.New()
	var w io.Writer = h
	if text != nil {
		w = io.MultiWriter(h, text)
	}
	return &Listing{h: h, w: bufio.NewWriterSize(w, 64<<10)}
}

// Add appends it. Items come in ascending order of path.
func (l *Listing) Add(it Item) error {
	if l.begun && it.Path != "." && l.last != "." && it.Path <= l.last {
		return fmt.Errorf("listing: %q after %q: not in order", it.Path, l.last)
	}
	l.begun, l.last = true, it.Path
	what := ""
	switch it.Type {
	case 'f':
		what = hex.EncodeToString(it.Content[:])
	case 'l':
		what = it.Link
	case 'c', 'b':
		what = fmt.Sprintf("%d:%d", it.Major, it.Minor)
	case 'd', 'p', 's':
	default:
		return fmt.Errorf("listing: %q: unknown type %q", it.Path, it.Type)
	}
	_, err := fmt.Fprintf(l.w, "%s\x00%c%o %d %d\x00%s\x00%x\n", it.Path, it.Type, it.Mode, it.UID, it.GID, what, it.Capability)
	return err
}

// Digest ends the listing and returns the tree digest.
func (l *Listing) Digest() (ore.Digest, error) {
	if err := l.w.Flush(); err != nil {
		return "", fmt.Errorf("listing: %w", err)
	}
	return ore.NewDigest([sha256.Size]byte(l.h.Sum(nil))), nil
}
