package plan

import "ore/plan/fit"

// Law is what a site has shown of one kind of work.
type Law = fit.Law

// alike lists for each amount of a kind of work those amounts that are most like
// it, the likest first: to decode a byte and to put it.
func alike(kind string) [][]int {
	if kind == workUnpack {
		return [][]int{nil, {2}, {1}}
	}
	return nil
}
