// Package release reads and proves the Release file of a suite: the page,
// signed by the archive, that names every index with its size and hash
// (DebianRepository/Format in Debian's wiki, apt-secure(8)).
//
// [Verify] takes an InRelease file and a [Keyring] and gives back a [Release]
// only if a key of the ring signed it. [Release.Check] holds its dates against
// the clock. What a Release then vouches for is looked up by path.
package release

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"ore"
	"ore/deb/control"
)

// MaxSize bounds a Release file, and a signature with it. Debian's own is
// 150 kB; nothing that is to be read whole before it is proved may be large.
const MaxSize = 16 << 20

// clockSkew is how far in the future a Release may be dated: a wrong time zone.
const clockSkew = 24 * time.Hour

// File is an index that a Release vouches for.
type File struct {
	Size   int64
	Digest ore.Digest
}

// Release is a proved Release file.
type Release struct {
	Origin, Label   string
	Suite, Codename string
	Date            time.Time
	ValidUntil      time.Time // zero when it has no end
	Components      []string
	Architectures   []string
	ByHash          bool // indexes can be got by their hash
	AllApart        bool // packages for "all" stand in an index of their own
	NotAutomatic    bool // never preferred unless asked for
	ByHand          bool // ButAutomaticUpgrades
	Files           map[string]File
}

// ErrExpired is what is wrong with a Release after its Valid-Until.
var ErrExpired = errors.New("the release file has expired")

// ErrFuture is what is wrong with a Release dated after the present.
var ErrFuture = errors.New("the release file is dated in the future")

// Parse reads the text of a Release file, which must have been proved.
func Parse(text string) (Release, error) {
	p, err := control.Parse(text)
	if err != nil {
		return Release{}, fmt.Errorf("release file: %w", err)
	}
	r := Release{
		Origin: p.Get("Origin"), Label: p.Get("Label"),
		Suite: p.Get("Suite"), Codename: p.Get("Codename"),
		Components: p.Words("Components"), Architectures: p.Words("Architectures"),
		ByHash:       p.Get("Acquire-By-Hash") == "yes",
		NotAutomatic: p.Get("NotAutomatic") == "yes",
		ByHand:       p.Get("ButAutomaticUpgrades") == "yes",
	}
	r.AllApart = slices.Contains(r.Architectures, "all") &&
		!slices.Contains(p.Words("No-Support-for-Architecture-all"), "Packages")
	if r.Date, err = parseDate(p.Get("Date")); err != nil || r.Date.IsZero() {
		return Release{}, fmt.Errorf("release file: date %q: not a date", p.Get("Date"))
	}
	if r.ValidUntil, err = parseDate(p.Get("Valid-Until")); err != nil {
		return Release{}, fmt.Errorf("release file: valid-until %q: not a date", p.Get("Valid-Until"))
	}
	if r.Files, err = parseFiles(p.Lines("SHA256")); err != nil {
		return Release{}, fmt.Errorf("release file: %w", err)
	}
	return r, nil
}

// parseDate reads a date as archives write it; an empty one is the zero time.
func parseDate(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 MST", s)
	if err != nil {
		t, err = time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", s)
	}
	return t.UTC(), err
}

// parseFiles reads the lines "hash size path".
func parseFiles(lines []string) (map[string]File, error) {
	files := make(map[string]File, len(lines))
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || !fs.ValidPath(f[2]) {
			return nil, fmt.Errorf("SHA256 line %q: not a hash, a size and a path", l)
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("SHA256 line %q: not a size", l)
		}
		digest, err := ore.ParseDigest("sha256:" + strings.ToLower(f[0]))
		if err != nil {
			return nil, fmt.Errorf("SHA256 line %q: not a hash", l)
		}
		files[f[2]] = File{Size: size, Digest: digest}
	}
	return files, nil
}

// Check holds the dates of r against the clock.
func (r Release) Check(now time.Time) error {
	if !r.ValidUntil.IsZero() && now.After(r.ValidUntil) {
		return fmt.Errorf("%w on %s", ErrExpired, r.ValidUntil.Format(time.RFC1123))
	}
	if r.Date.After(now.Add(clockSkew)) {
		return fmt.Errorf("%w, %s", ErrFuture, r.Date.Format(time.RFC1123))
	}
	return nil
}

// Has reports whether the suite has the component, by its name with or without
// what stands before a slash ("updates/main" is how some name main).
func (r Release) Has(component string) bool {
	for _, c := range r.Components {
		if c == component || strings.HasSuffix(c, "/"+component) || strings.HasSuffix(component, "/"+c) {
			return true
		}
	}
	return false
}
