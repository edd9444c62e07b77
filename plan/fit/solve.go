package fit

import (
	"math"
	"slices"
)

// least is the weight of a calibration that has faded: enough to tell amounts
// apart that were only measured together, too little to be felt otherwise.
const least = 1e-4

// evenly is the weight with which amounts that were only measured together share
// evenly what they took, those of the law's bulk if it has any. Without it, chance
// would give all to one of them.
const evenly = 3e-3

// part returns which part of a run's seconds the amount i took, as far as no other
// run tells.
func (l *Law) part(i int) float64 {
	n := 0
	for _, b := range l.Bulk {
		if l.KnowsAmount(b) {
			n++
		}
	}
	switch {
	case n == 0: // nothing of the bulk was ever measured
		return 1 / float64(len(l.Moment))
	case slices.Contains(l.Bulk, i):
		return 1 / float64(n)
	}
	return 0
}

// normal returns the matrix and right side of the normal equations, with the
// calibration in them.
func (l *Law) normal() (m [maxAmounts][maxAmounts]float64, v [maxAmounts]float64) {
	n := len(l.Moment)
	fading := max(math.Pow(forget, float64(l.Count)), least)
	for i := range n {
		v[i] = l.Moment[i]
		for j := range n {
			m[i][j] = l.Gram[i*n+j]
		}
		switch {
		case i < len(l.Prior) && l.Prior[i] > 0:
			m[i][i] += fading / (l.Prior[i] * l.Prior[i])
			v[i] += fading / l.Prior[i]
		case m[i][i] > 0:
			m[i][i] *= 1 + evenly
			v[i] *= 1 + evenly*l.part(i)
		default:
			m[i][i] = 1 // never seen: any value does, its coefficient is 0
		}
	}
	return m, v
}

// fit finds the coefficients with the least squared relative errors, none
// negative. There are at most four, so all choices of those that are not zero
// are tried.
func (l *Law) fit() {
	n := len(l.Moment)
	m, v := l.normal()
	best := math.Inf(1)
	for set := 1; set < 1<<n; set++ {
		sub, side := m, v
		for i := range n {
			if set&(1<<i) != 0 {
				continue
			}
			side[i] = 0
			for j := range n {
				sub[i][j], sub[j][i] = 0, 0
			}
			sub[i][i] = 1
		}
		c, ok := solve(sub, side, n)
		if !ok {
			continue
		}
		var worth float64 // of the minimum, but for what all have
		negative := false
		for i := range n {
			negative = negative || c[i] < 0
			worth -= v[i] * c[i]
		}
		if !negative && worth < best {
			best = worth
			copy(l.Coef, c[:n])
		}
	}
}

// solve solves m x = v for the first n, by elimination with the greatest pivot
// after scaling, since amounts differ by orders of magnitude.
func solve(m [maxAmounts][maxAmounts]float64, v [maxAmounts]float64, n int) (x [maxAmounts]float64, ok bool) {
	var scale [maxAmounts]float64
	for i := range n {
		if m[i][i] <= 0 {
			return x, false
		}
		scale[i] = 1 / math.Sqrt(m[i][i])
	}
	for i := range n {
		v[i] *= scale[i]
		for j := range n {
			m[i][j] *= scale[i] * scale[j]
		}
	}
	for c := range n {
		p := c
		for r := c + 1; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[p][c]) {
				p = r
			}
		}
		if math.Abs(m[p][c]) < 1e-12 {
			return x, false
		}
		m[c], m[p], v[c], v[p] = m[p], m[c], v[p], v[c]
		for r := c + 1; r < n; r++ {
			f := m[r][c] / m[c][c]
			v[r] -= f * v[c]
			for k := c; k < n; k++ {
				m[r][k] -= f * m[c][k]
			}
		}
	}
	for i := n - 1; i >= 0; i-- {
		x[i] = v[i]
		for k := i + 1; k < n; k++ {
			x[i] -= m[i][k] * x[k]
		}
		x[i] /= m[i][i]
	}
	for i := range n {
		x[i] *= scale[i]
	}
	return x, true
}
