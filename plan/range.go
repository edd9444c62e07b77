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

// span returns the range of a log-normal distribution with these moments:
// times are never negative, and their long end is the late one.
func (m moment) span() Range {
	if m.mean <= 0 {
		return Range{}
	}
	ratio := m.deviation / m.mean
	s := math.Sqrt(math.Log(1 + ratio*ratio))
	middle := m.mean * math.Exp(-s*s/2)
	// The middle that is compared is the mean, since it adds up.
	return Range{Low: middle * math.Exp(-eightOfTen*s), Middle: m.mean, High: middle * math.Exp(eightOfTen*s)}
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
