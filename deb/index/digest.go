package index

import (
	"bytes"
	"encoding/hex"

	"ore"
)

// digestAt is where a package's record holds the digest.
const digestAt = 40

// Find returns the package whose .deb has the digest. It looks at all records,
// a millisecond for Debian's sixty thousand.
func (x *Index) Find(d ore.Digest) (Package, bool) {
	want, err := hex.DecodeString(d.Hex())
	if err != nil || len(want) == 0 {
		return Package{}, false
	}
	for i := range x.Len() {
		if at := i*packageSize + digestAt; bytes.Equal(x.packages[at:at+len(want)], want) {
			return x.Package(i), true
		}
	}
	return Package{}, false
}
