package forecast

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)

// every makes arrivals at hours that are some minutes late.
func every(wish string, first time.Time, gap time.Duration, n int) []Arrival {
	var all []Arrival
	for i := range n {
		all = append(all, Arrival{wish, first.Add(time.Duration(i)*gap + time.Duration(i%7)*time.Minute)})
	}
	return all
}

func probability(t *testing.T, all []Prediction, wish string) float64 {
	t.Helper()
	i := slices.IndexFunc(all, func(p Prediction) bool { return p.Wish == wish })
	if i < 0 {
		t.Fatalf("no %s in %v", wish, all)
	}
	return all[i].Probability
}

func TestNightlyIsLikelyBeforeItsHour(t *testing.T) {
	all := every("nightly", day.Add(2*time.Hour), 24*time.Hour, 10)
	last := day.Add(2*time.Hour + 9*24*time.Hour)
	after := probability(t, Likely(all, last.Add(time.Hour), time.Hour, 5), "nightly")
	before := probability(t, Likely(all, last.Add(23*time.Hour), 2*time.Hour, 5), "nightly")
	if before < 0.3 || after > 0.1 || before < 5*after {
		t.Errorf("%.3f an hour before, %.3f an hour after", before, after)
	}
}

func TestDriftWins(t *testing.T) {
	all := every("x", day, 6*time.Hour, 40)
	faster := every("x", day.Add(240*time.Hour), 20*time.Minute, 30)
	now := faster[len(faster)-1].At.Add(10 * time.Minute)
	if p := probability(t, Likely(append(all, faster...), now, 30*time.Minute, 5), "x"); p < 0.7 {
		t.Errorf("it has come every 20 minutes of late, and yet %.3f for half an hour", p)
	}
}

func TestSilenceLowersTheProbability(t *testing.T) {
	all := every("gone", day, time.Hour, 20)
	last := 1.0
	for _, quiet := range []time.Duration{2 * time.Hour, 24 * time.Hour, 30 * 24 * time.Hour} {
		p := probability(t, Likely(all, all[19].At.Add(quiet), time.Hour, 5), "gone")
		if p >= last {
			t.Errorf("%.3f after %v, %.3f before", p, quiet, last)
		}
		last = p
	}
	if last > 0.05 {
		t.Errorf("still %.3f after a month", last)
	}
}

func TestClockThatJumps(t *testing.T) {
	all := append(every("x", day, time.Hour, 5), every("x", day.AddDate(12, 0, 0), time.Hour, 5)...)
	now := all[4].At.Add(30 * time.Minute) // the clock was twelve years ahead for a while
	with := Likely(all, now, time.Hour, 5)
	if len(with) != 1 || with[0].Seen != 5 {
		t.Errorf("got %+v", with)
	}
	if got := Likely(all, day.Add(-time.Hour), time.Hour, 5); len(got) != 0 {
		t.Errorf("all are in the future, and yet %+v", got)
	}
}

func TestLimits(t *testing.T) {
	if got := Likely(nil, day, time.Hour, 3); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	same := []Arrival{{"a", day}, {"a", day}, {"b", day}, {"c", day}}
	got := Likely(same, day, time.Hour, 2)
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	for _, p := range got {
		if !(p.Probability >= 0 && p.Probability <= 1) {
			t.Errorf("got %+v", p)
		}
	}
}

// TestIsCalibrated compares predicted probabilities with what happened, for
// wishes of several rhythms and some of none.
func TestIsCalibrated(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var all []Arrival
	end := day.Add(60 * 24 * time.Hour)
	for w := range 60 {
		gap := time.Duration(1+r.IntN(48)) * time.Hour
		regular := w%2 == 0
		for at := day.Add(time.Duration(r.Int64N(int64(gap)))); at.Before(end); {
			all = append(all, Arrival{fmt.Sprint(w), at})
			step := time.Duration(float64(gap) * (1 + 0.05*r.NormFloat64()))
			if !regular {
				step = time.Duration(float64(gap) * r.ExpFloat64())
			}
			at = at.Add(step)
		}
	}
	var expected, got float64
	const horizon = 3 * time.Hour
	for range 60 {
		now := day.Add(time.Duration(30*24+r.IntN(29*24)) * time.Hour)
		var past []Arrival
		came := map[string]bool{}
		for _, a := range all {
			if !a.At.After(now) {
				past = append(past, a)
			} else if !a.At.After(now.Add(horizon)) {
				came[a.Wish] = true
			}
		}
		for _, p := range Likely(past, now, horizon, 1000) {
			expected += p.Probability
			if came[p.Wish] {
				got++
			}
		}
	}
	if ratio := expected / got; ratio < 0.8 || ratio > 1.25 {
		t.Errorf("%.0f requests were predicted, %.0f came", expected, got)
	}
}
