package index

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"ore"
)

// Rank says what having a package in common is worth. The unit is free, as
// only the order counts; seconds are meant. Package or Byte must be above zero.
type Rank struct {
	Package float64 // for each package that need not be configured
	Byte    float64 // for each byte of a .deb that need not be unpacked
	Extra   float64 // lost for each package that is too much
}

// DefaultRank has the proportions that were measured on a small host: some 25
// packages are configured in the time in which 10 MB of .debs are unpacked, and
// removing a package takes about as long as configuring one.
func DefaultRank() Rank { return Rank{Package: 0.04, Byte: 1e-7, Extra: 0.04} }

// fixed is how many parts a unit of Rank is divided into: sums of whole numbers
// do not depend on the order in which they are added.
const fixed = 1e9

// Query is a set of packages by ids, with what each is worth.
type Query struct {
	ids     []uint32 // ascending
	weights []int64  // of the same package
	extra   int64    // lost for each package too much
}

// Wanted is one package of a query; a package with ID 0 is in no image.
type Wanted struct {
	ID   uint32
	Size int64 // of the .deb
}

// Query returns the query for packages under r.
func (r Rank) Query(packages []Wanted) Query {
	known := slices.DeleteFunc(slices.Clone(packages), func(w Wanted) bool { return w.ID == 0 })
	slices.SortFunc(known, func(a, b Wanted) int { return int(int64(a.ID) - int64(b.ID)) })
	known = slices.CompactFunc(known, func(a, b Wanted) bool { return a.ID == b.ID })
	q := Query{extra: int64(r.Extra * fixed)}
	for _, w := range known {
		q.ids = append(q.ids, w.ID)
		q.weights = append(q.weights, int64((r.Package+r.Byte*float64(w.Size))*fixed))
	}
	return q
}

// Score returns what an image with the packages set, ascending, is worth to q,
// and how many packages they have in common.
func (q Query) Score(set []uint32) (score int64, common int) {
	i := 0
	for _, id := range set {
		for i < len(q.ids) && q.ids[i] < id {
			i++
		}
		if i < len(q.ids) && q.ids[i] == id {
			score += q.weights[i]
			common++
		} else {
			score -= q.extra
		}
	}
	return score, common
}

// Hash returns by what a package is known here.
func Hash(p ore.Package) uint64 {
	b := make([]byte, 0, 256)
	for _, s := range []string{p.Name, p.Version, p.Arch, string(p.Digest)} {
		b = append(append(b, s...), 0)
	}
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}

// AppendSet appends the ids, ascending, as differences in uvarint.
func AppendSet(b []byte, ids []uint32) []byte {
	last := uint32(0)
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id-last))
		last = id
	}
	return b
}

// maxSet bounds the ids in a set: the largest suites have 70,000 packages.
const maxSet = 1 << 20

// ParseSet reads what AppendSet wrote. It returns false if b is no ascending set.
func ParseSet(b []byte) ([]uint32, bool) {
	ids := make([]uint32, 0, len(b))
	last := uint64(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		last += d
		if n <= 0 || d == 0 || d > 1<<32 || last >= 1<<32 || len(ids) == maxSet {
			return nil, false
		}
		ids = append(ids, uint32(last))
		b = b[n:]
	}
	return ids, true
}

// Worth returns Score in the unit of the rank.
func (q Query) Worth(set []uint32) float64 {
	score, _ := q.Score(set)
	return float64(score) / fixed
}
