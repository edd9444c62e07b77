package plan

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Ranges hold the share that is promised, however far the spreads of laws are
// from those of runs.
func TestRangesHoldWhatTheyPromise(t *testing.T) {
	at := moment{mean: 10, deviation: 2}
	for _, spread := range []float64{0.05, 0.2, 0.4} {
		rng := rand.New(rand.NewPCG(1, 1))
		var r Rates
		inside, runs := 0, 0
		for i := range 2200 {
			o := Option{Known: true, Total: at.span(r.width())}
			took := 10 * math.Exp(spread*rng.NormFloat64())
			if i >= 200 {
				runs++
				if o.Total.Low <= took && took <= o.Total.High {
					inside++
				}
			}
			r = r.Aim(o, took)
		}
		if got := float64(inside) / float64(runs); math.Abs(got-share) > 0.03 {
			t.Errorf("runs that spread by %v: %.3f within, width %v", spread, got, r.Width)
		}
	}
}

// What a range is not judged by changes none, and no site makes one of no width
// or of any.
func TestWidthIsBounded(t *testing.T) {
	o := Option{Known: true, Total: Range{Low: 1, Middle: 2, High: 3}}
	unknown := o
	unknown.Known = false
	if r := (Rates{}).Aim(unknown, 9).Aim(o, 0).Aim(Option{Known: true}, 9); r.Width != 0 {
		t.Errorf("width %v", r.Width)
	}
	var narrow, wide Rates
	for range 1000 {
		narrow, wide = narrow.Aim(o, 2), wide.Aim(o, 9)
	}
	if narrow.Width != narrowest || wide.Width != widest {
		t.Errorf("widths %v and %v", narrow.Width, wide.Width)
	}
}
