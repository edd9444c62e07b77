package plan

import "ore/plan/fit"

// Law is what a site has shown of one kind of work.
type Law = fit.Law

// bulk lists the amounts of a kind of work that say how much of it there was: of one
// run, these took the time, and what counts once for each run or request took next to
// none. What it takes is told by runs of other sizes, or by asking (see Asked).
func bulk(kind string) []int {
	switch kind {
	case workFetch, workSeal:
		return []int{1}
	case workUnpack:
		return []int{1, 2}
	}
	return nil
}

// alike lists for each amount of a kind of work those amounts that are most like
// it, the likest first: to decode a byte and to put it.
func alike(kind string) [][]int {
	if kind == workUnpack {
		return [][]int{nil, {2}, {1}}
	}
	return nil
}
