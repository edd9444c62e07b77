// Package fit turns measurements of one kind of work into a law: what each amount of
// that work takes, by least squares with fading weights, and how far a prediction by
// it may be off. It knows nothing of what the work is.
package fit

import (
	"math"
	"slices"
	"time"
)

// maxAmounts is the most amounts that one law has.
const maxAmounts = 4

// forget is what a measurement still weighs after the next one of its like: some
// twelve of them make a law, so that it follows a site that changes and one odd run
// does not turn a choice. Starts of machines differ by a tenth from run to run, of
// which six would leave an error of 4 % beside what cannot be known.
const forget = 0.92

// firstSpread is the relative spread that is assumed before a law has shown its
// own: a factor of 1.6 either way. It counts as one measurement and fades.
const firstSpread = 0.5

// widestSpread bounds the relative spread of a prediction. Beyond a factor of
// three either way a range says no more than "unknown".
const widestSpread = 1.0

// outlier is from how many spreads on a measurement is taken as one that far
// away only.
const outlier = 3.0

// changed is how many such measurements in a row on one side mean that the site
// has changed: all coefficients then do by the same factor.
const changed = 3

// much is the share of what is expected of a run from which on it tells of an amount.
const much = 0.1

// shortest is the least time that a measurement must have taken to count:
// below it, the clock is what is measured.
const shortest = 2 * time.Millisecond

// Law is what a site has shown of one kind of work: its seconds are the sum of
// amounts of work, each times a coefficient that is not negative. With one
// amount it is an exponentially weighted rate; with several, a least-squares fit
// of relative errors whose older measurements fade alike. Fewer runs than amounts
// leave open which of these took the time: then those of Bulk did. The zero Law
// knows nothing. A Law is a value: Learn returns another.
type Law struct {
	Gram   []float64 // sums of the products of amounts, row by row
	Moment []float64 // sums of amounts times seconds
	Prior  []float64 `json:",omitempty"` // coefficients that a calibration gave
	Coef   []float64 // seconds for one of each amount
	Weight float64   // of all measurements, faded
	Square float64   // sum of the squared relative errors of predictions, faded
	Count  int       // of measurements
	Odd    int       `json:",omitempty"` // the last so many measurements were outliers: above if positive, else below
	Bulk   []int     `json:",omitempty"` // the amounts that explain a first run, by their places; none: all of them alike
}

// Knows says whether all that amounts has anything of was measured before.
func (l *Law) Knows(amounts []float64) bool {
	for i, a := range amounts {
		if a > 0 && !l.KnowsAmount(i) {
			return false
		}
	}
	return true
}

// KnowsAmount says whether the amount i was measured before, or calibrated.
func (l *Law) KnowsAmount(i int) bool {
	return i < len(l.Prior) && l.Prior[i] > 0 || i < len(l.Moment) && l.Gram[i*len(l.Moment)+i] > 0
}

// Seconds returns the middle prediction for amounts.
func (l *Law) Seconds(amounts []float64) float64 {
	var t float64
	for i, a := range amounts {
		if i < len(l.Coef) {
			t += a * l.Coef[i]
		}
	}
	return t
}

// Spread returns the relative spread that measurements of this law have.
func (l *Law) Spread() float64 {
	first := math.Pow(forget, float64(l.Count))
	return math.Sqrt((l.Square + first*firstSpread*firstSpread) / (l.Weight + first))
}

// Shown returns the relative spread that measurements have shown, 0 if there
// were too few to show any.
func (l *Law) Shown() float64 {
	if l.Weight < 1 {
		return 0
	}
	return min(firstSpread, math.Sqrt(l.Square/l.Weight))
}

// Deviation returns the standard deviation of a prediction for amounts, in
// seconds: what measurements spread, and more the less the amounts are like
// those that were measured.
func (l *Law) Deviation(amounts []float64) float64 {
	t := l.Seconds(amounts)
	if t <= 0 {
		return 0
	}
	return t * min(widestSpread, l.Spread()*math.Sqrt(1+l.leverage(amounts, t)))
}

// farthest bounds a leverage: beyond, a prediction is as wide as it gets.
const farthest = 1e9

// leverage says how far amounts are from what was measured (0: measured often).
func (l *Law) leverage(amounts []float64, seconds float64) float64 {
	n := len(l.Coef)
	if n == 0 {
		return 0
	}
	var z [maxAmounts]float64
	for i := range min(n, len(amounts)) {
		z[i] = amounts[i] / seconds
	}
	m, _ := l.normal()
	x, ok := solve(m, z, n)
	if !ok {
		return farthest
	}
	var h float64
	for i := range n {
		h += z[i] * x[i]
	}
	if !(h < farthest) { // or is no number, so small are the seconds
		return farthest
	}
	return max(h, 0)
}

// Learn returns l with a measurement taken in. Measurements of no work or of
// next to no time are left out.
func (l Law) Learn(amounts []float64, took time.Duration) Law {
	seconds := took.Seconds()
	expected := l.Seconds(amounts)
	known := l.Count+len(l.Prior) > 0 && l.Knows(amounts) && expected > 0
	if !anything(amounts) || took < shortest || len(amounts) > maxAmounts {
		return l
	}
	n := l.grown(len(amounts))
	n.Weight, n.Square, n.Count, n.Odd = forget*l.Weight, forget*l.Square, l.Count+1, 0
	if known {
		expected, seconds = n.judge(&l, amounts, expected, seconds)
		if l.Count == 0 {
			expected = n.meet(amounts, expected, seconds)
		}
	} else {
		expected = seconds
	}
	n.fade(amounts)
	// Errors count relative to the geometric mean of what was expected and what
	// was, so that twice as long weighs no more than half as long.
	scale := expected * seconds
	for i, a := range amounts {
		n.Moment[i] += a * seconds / scale
		for j, b := range amounts {
			n.Gram[i*len(n.Moment)+j] += a * b / scale
		}
	}
	n.fit()
	return n
}

// meet corrects a calibration by the first run of its work, which it does not outweigh:
// what it is off beyond what is usual, all that the run had much of was. It returns
// what is then expected of the run.
func (n *Law) meet(amounts []float64, expected, seconds float64) float64 {
	far := math.Log(seconds / expected)
	far = math.Copysign(max(0, math.Abs(far)-firstSpread), far)
	prior := slices.Clone(n.Prior)
	var met float64
	for i := range min(len(prior), len(amounts)) {
		part := amounts[i] * prior[i] / expected
		prior[i] *= math.Exp(far * min(1, part/much))
		met += amounts[i] * prior[i]
	}
	n.Prior = prior
	return met
}

// fade forgets a part of what is known in the direction of a measurement, which
// the measurement then says anew: a site that starts one machine a hundred times
// still knows what it learned when it started hundreds of them (L. Cao and H.
// Schwartz, "A directional forgetting algorithm based on the decomposition of the
// information matrix", Automatica 36, 2000).
func (n *Law) fade(amounts []float64) {
	var along [maxAmounts]float64 // the matrix times the measurement
	var square, moment float64
	size := len(n.Moment)
	for i := range size {
		for j, a := range amounts {
			along[i] += n.Gram[i*size+j] * a
		}
	}
	for i, a := range amounts {
		square += a * along[i]
		moment += a * n.Moment[i]
	}
	if square <= 0 {
		return
	}
	for i := range size {
		n.Moment[i] -= (1 - forget) * along[i] * moment / square
		for j := range size {
			n.Gram[i*size+j] -= (1 - forget) * along[i] * along[j] / square
		}
	}
}

// judge compares a measurement with what the law l expected, notes its error,
// and returns what is to be taken for the two: an outlier counts as a near one,
// and several in a row as a change of everything.
func (n *Law) judge(l *Law, amounts []float64, expected, seconds float64) (float64, float64) {
	r := math.Log(seconds / expected)
	unlike := 1 + l.leverage(amounts, expected)
	far := outlier * l.Spread() * math.Sqrt(unlike)
	n.Weight++
	if l.Count < 2 || math.Abs(r) <= far {
		n.Square += r * r / unlike
		return expected, seconds
	}
	n.Square += far * far / unlike
	n.Odd = 1
	if r < 0 {
		n.Odd = -1
	}
	if n.Odd*l.Odd > 0 {
		n.Odd += l.Odd
	}
	if n.Odd == changed || n.Odd == -changed {
		for i := range n.Moment {
			n.Moment[i] *= seconds / expected
		}
		n.Odd = 0
		return seconds, seconds
	}
	return expected, expected * math.Exp(math.Copysign(far, r))
}

// Calibrated returns l with coefficients that a calibration gave. They count as
// a first measurement and fade as the site shows more.
func (l Law) Calibrated(coefficients []float64) Law {
	n := l.grown(len(coefficients))
	n.Prior = append([]float64(nil), coefficients...)
	n.fit()
	return n
}

// grown returns a copy of l with room for n amounts.
func (l Law) grown(n int) Law {
	old := len(l.Moment)
	n = max(n, old)
	g := l
	g.Gram, g.Moment, g.Coef = make([]float64, n*n), make([]float64, n), make([]float64, n)
	copy(g.Moment, l.Moment)
	for i := range old {
		copy(g.Gram[i*n:i*n+old], l.Gram[i*old:])
	}
	return g
}

func anything(amounts []float64) bool {
	for _, a := range amounts {
		if a > 0 {
			return true
		}
	}
	return false
}
