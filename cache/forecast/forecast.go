// Package forecast says which wishes are likely to come next, from the times at
// which they came before. It is pure.
//
// The time to the next request of a wish is taken to be like the gaps between
// its earlier ones, the latest of which count most, so that it follows drift:
// a histogram of gaps as in Shahrad et al., "Serverless in the Wild" (USENIX ATC
// 2020), smoothed on a logarithmic scale instead of cut into buckets. What is
// asked for is a conditional probability: no request came since the last one, so
// gaps that were shorter than that are out. A wish that comes every night is
// likely shortly before its hour and unlikely right after it.
package forecast

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Arrival is a request for a wish.
type Arrival struct {
	Wish string
	At   time.Time
}

// Prediction says how likely a wish is to be asked for.
type Prediction struct {
	Wish        string
	Probability float64       // that it is within the horizon
	Gap         time.Duration // between its requests, as a rule
	Seen        int           // requests that this comes of
}

const (
	// maxGaps is how many gaps of a wish count: older ones have no weight left.
	maxGaps = 64
	// fade is the weight of a gap against the one after it.
	fade = 0.9
	// spread is the deviation of the logarithm of a gap: people and schedulers
	// are late by a tenth or so.
	spread = 0.12
	// doubt is the weight of the assumption that requests know no rhythm, which
	// remains when the time that passed is longer than all gaps.
	doubt = 0.4
	// shortestGap stands for gaps that the clock cannot tell from none.
	shortestGap = time.Second
)

// Likely returns the wishes that are most likely to be asked for between now and
// now+horizon, the most likely first, at most most. Arrivals may come in any
// order; those after now, which a clock that was set back makes, are left out.
func Likely(arrivals []Arrival, now time.Time, horizon time.Duration, most int) []Prediction {
	times := map[string][]time.Time{}
	for _, a := range arrivals {
		if !a.At.After(now) {
			times[a.Wish] = append(times[a.Wish], a.At)
		}
	}
	var all []Prediction
	for wish, at := range times {
		slices.SortFunc(at, time.Time.Compare)
		all = append(all, predict(wish, at, now, horizon))
	}
	slices.SortFunc(all, func(a, b Prediction) int {
		return cmp.Or(cmp.Compare(b.Probability, a.Probability), cmp.Compare(a.Wish, b.Wish))
	})
	return all[:min(most, len(all))]
}

// predict looks at one wish, whose requests came at the given times.
func predict(wish string, at []time.Time, now time.Time, horizon time.Duration) Prediction {
	p := Prediction{Wish: wish, Seen: len(at)}
	passed := max(shortestGap, now.Sub(at[len(at)-1]))
	span := max(shortestGap, now.Sub(at[0]))
	// Without rhythm: as many requests an hour as there were so far. One
	// request alone says little, and so counts as none and a half.
	rate := (float64(len(at)) - 0.5) / (span.Seconds() + passed.Seconds())
	later, within := doubt, doubt*(1-math.Exp(-rate*horizon.Seconds()))
	weight, total, sum := 1.0, 0.0, 0.0
	for i := len(at) - 1; i > 0 && len(at)-i <= maxGaps; i-- {
		gap := max(shortestGap, at[i].Sub(at[i-1]))
		stay := weight * beyond(gap, passed)
		later += stay
		within += stay - weight*beyond(gap, passed+horizon)
		sum += weight * math.Log(gap.Seconds())
		total += weight
		weight *= fade
	}
	if total > 0 {
		p.Gap = time.Duration(math.Exp(sum/total) * float64(time.Second)).Round(time.Second)
	}
	p.Probability = min(1, max(0, within/later))
	return p
}

// beyond is the probability that a gap like this one is longer than t.
func beyond(gap, t time.Duration) float64 {
	z := (math.Log(t.Seconds()) - math.Log(gap.Seconds())) / spread
	return math.Erfc(z/math.Sqrt2) / 2
}
