package plan

import "math"

// Range is predicted seconds. In eight of ten cases the time is between Low and
// High.
type Range struct {
	Low, Middle, High float64
}

// eightOfTen is how many standard deviations from the middle eight of ten
// values lie of a normal distribution.
const eightOfTen = 1.2816

// moment is a time as a random variable. Ranges are made of it at the end.
type moment struct {
	mean, deviation float64
}

// span returns the range of a log-normal distribution with these moments, so many
// times as wide: times are never negative, and their long end is the late one.
func (m moment) span(width float64) Range {
	if m.mean <= 0 {
		return Range{}
	}
	ratio := m.deviation / m.mean
	s := width * math.Sqrt(math.Log(1+ratio*ratio))
	middle := m.mean * math.Exp(-s*s/2)
	// The middle that is compared is the mean, since it adds up.
	return Range{Low: middle * math.Exp(-eightOfTen*s), Middle: m.mean, High: middle * math.Exp(eightOfTen*s)}
}

// share is how many of all times are to be within their ranges.
const share = 0.8

// step is how far one run moves the width of ranges: some dozen tell it, and one
// hardly any.
const step = 0.1

// Bounds of the width: beyond, what a site has shown is no spread.
const (
	narrowest = 1.0 / 8
	widest    = 4
)

// Aim returns r with what a run took in all that was predicted as o. Spreads of
// laws do not add up to that of a run by theory alone, since one law's error may
// make good another's; so ranges become narrower with each run within and wider
// with each beyond, so much that they rest where the promised share is within,
// whatever the errors' distribution (I. Gibbs and E. Candes, "Adaptive Conformal
// Inference Under Distribution Shift", 2021).
func (r Rates) Aim(o Option, seconds float64) Rates {
	if !o.Known || seconds <= 0 || o.Total.High <= o.Total.Low {
		return r
	}
	n := r.clone()
	move := step * share
	if o.Total.Low <= seconds && seconds <= o.Total.High {
		move = -step * (1 - share)
	}
	n.Width = min(widest, max(narrowest, n.width()*math.Exp(move)))
	return n
}

// width returns how many times as wide ranges are as the spreads of laws have it.
func (r *Rates) width() float64 {
	if r.Width == 0 {
		return 1
	}
	return r.Width
}

// later returns the greater of two independent times: C. E. Clark, "The
// Greatest of a Finite Set of Random Variables", Operations Research 9 (1961).
func later(a, b moment) moment {
	s := math.Hypot(a.deviation, b.deviation)
	if s == 0 {
		if a.mean >= b.mean {
			return a
		}
		return b
	}
	x := (a.mean - b.mean) / s
	up, down, d := normal(x), normal(-x), density(x)
	mean := a.mean*up + b.mean*down + s*d
	square := (a.mean*a.mean+a.deviation*a.deviation)*up +
		(b.mean*b.mean+b.deviation*b.deviation)*down + (a.mean+b.mean)*s*d
	return moment{mean: mean, deviation: math.Sqrt(max(0, square-mean*mean))}
}

func normal(x float64) float64  { return math.Erfc(-x/math.Sqrt2) / 2 }
func density(x float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }

// slowest returns how many standard deviations above the mean the greatest of n
// draws is expected (G. Blom, "Statistical Estimates and Transformed Beta
// Variables", 1958).
func slowest(n int) float64 {
	if n < 2 {
		return 0
	}
	p := (float64(n) - 0.375) / (float64(n) + 0.25)
	return math.Sqrt2 * math.Erfinv(2*p-1)
}
