package plan

import "slices"

// alike lists for each amount of a kind of work those amounts that are most like
// it, the likest first: all of unpacking puts bytes into files.
func alike(kind string) [][]int {
	if kind == workUnpack {
		return [][]int{nil, {2, 3}, {3, 1}, {2, 1}}
	}
	return nil
}

// unfelt stands for a coefficient of work that was measured to take no time
// beside other work.
const unfelt = 1e-12

// related returns l with first coefficients for amounts that nobody has measured,
// if some like them were: a way that was never taken would else count as dear as
// anything, never be taken, and never be measured.
func (l Law) related(kind string) Law {
	var n Law
	for i, likes := range alike(kind) {
		if l.Count == 0 || l.knows(i) {
			continue
		}
		j := slices.IndexFunc(likes, func(j int) bool { return l.knows(j) && j < len(l.Coef) })
		if j < 0 {
			continue
		}
		if n.Coef == nil {
			n = l.grown(len(alike(kind)))
			copy(n.Coef, l.Coef)
			n.Prior = make([]float64, len(n.Coef))
			copy(n.Prior, l.Prior)
		}
		n.Coef[i] = max(unfelt, l.Coef[likes[j]])
		n.Prior[i] = n.Coef[i]
	}
	if n.Coef == nil {
		return l
	}
	return n
}
