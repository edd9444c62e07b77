package remote

import (
	"math"

	"ore"
	"ore/plan"
)

// fresh returns what share of an offer's layers over the base has to come over the
// link. A layer is made of the blocks of its packages, and images here that hold some
// of them have the same blocks: by these packages' bytes it is known without one more
// question what a fetch will find here, where chunks to compare would first have to be
// listed by the cache, which over a slow link takes as long as what it saves. What is
// not a package's (the lists of what is installed) is left out.
func fresh(o offer, env ore.Environment, have plan.Have) float64 {
	held := map[ore.Digest]bool{}
	for _, c := range have.Candidates {
		if c.At != "" {
			continue
		}
		lacks := digests(c.Missing)
		for _, p := range env.Packages {
			if !lacks[p.Digest] {
				held[p.Digest] = true
			}
		}
		for _, p := range c.Extra {
			held[p.Digest] = true
		}
	}
	var all, here float64
	count := func(p ore.Package) {
		all += float64(p.Size)
		if held[p.Digest] {
			here += float64(p.Size)
		}
	}
	without := digests(o.missing)
	for _, p := range env.Packages {
		if !p.Base && !without[p.Digest] {
			count(p)
		}
	}
	for _, p := range o.extra {
		count(p)
	}
	if all == 0 {
		return 1
	}
	return 1 - here/all
}

func digests(all []ore.Package) map[ore.Digest]bool {
	m := make(map[ore.Digest]bool, len(all))
	for _, p := range all {
		m[p.Digest] = true
	}
	return m
}

// toFetch is how many bytes of a layer come if that share of it is not here: one at
// least, since even what is all here is asked for.
func toFetch(size int64, share float64) int64 {
	return min(size, max(1, int64(math.Ceil(share*float64(size)))))
}
