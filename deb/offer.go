package deb

import (
	"fmt"
	"strings"

	"ore"
)

// Offer names what the archive offers now: it is the same as long as the
// indexes are, so that what was resolved from them can be remembered by it.
func (a *Archive) Offer() ore.Digest {
	var b strings.Builder
	for _, s := range a.sources {
		fmt.Fprintf(&b, "%s %s %d\n", s.uri, s.suite, s.state.Pin)
		for _, p := range s.state.Packed {
			fmt.Fprintf(&b, "%s %s\n", p.Component, p.Digest)
		}
	}
	return ore.DigestOf([]byte(b.String()))
}

// Kept says whether p's .deb is on this host already.
func (a *Archive) Kept(p ore.Package) bool { return a.kept(p) }

// AtHand returns the .debs of packages that are on this host already. Their bytes
// were verified when they came, and are again when Fetch gives them.
func (a *Archive) AtHand(packages []ore.Package) map[ore.Digest]string {
	files := make(map[ore.Digest]string, len(packages))
	for _, p := range packages {
		if a.kept(p) {
			files[p.Digest] = a.path(p.Digest)
		}
	}
	return files
}
