package fit

import "slices"

// unfelt stands for a coefficient of work that was measured to take no time
// beside other work.
const unfelt = 1e-12

// Related returns l with first coefficients for amounts that nobody has measured,
// if some like them were, the likest first in alike: a way that was never taken would else count as dear as
// anything, never be taken, and never be measured.
func (l Law) Related(alike [][]int) Law {
	var n Law
	for i, likes := range alike {
		if l.Count == 0 || l.KnowsAmount(i) {
			continue
		}
		j := slices.IndexFunc(likes, func(j int) bool { return l.KnowsAmount(j) && j < len(l.Coef) })
		if j < 0 {
			continue
		}
		if n.Coef == nil {
			n = l.grown(len(alike))
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
