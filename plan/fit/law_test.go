package fit

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func near(a, b, share float64) bool { return math.Abs(a-b) <= share*math.Abs(b) }

func TestLawOfOneAmount(t *testing.T) {
	l := Law{}.Learn([]float64{1000}, time.Second)
	if got := l.Seconds([]float64{3000}); !near(got, 3, 1e-3) {
		t.Errorf("after one measurement: %v", got)
	}
	if s := l.Spread(); s < 0.3 {
		t.Errorf("one measurement shows no spread of %v", s)
	}
	same := l.Learn([]float64{0}, time.Second).Learn([]float64{5}, time.Microsecond)
	if same.Count != l.Count || same.Coef[0] != l.Coef[0] {
		t.Errorf("measurements of nothing changed %+v to %+v", l, same)
	}
}

// Several amounts are told apart, whatever their sizes, and the spread that is
// shown is the one that was.
func TestLawFits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	truth := []float64{0.3, 2e-8, 0.05}
	var l Law
	for range 80 {
		a := []float64{1, rng.Float64() * 1e8, float64(rng.IntN(100))}
		var s float64
		for i := range a {
			s += a[i] * truth[i]
		}
		l = l.Learn(a, seconds(s*math.Exp(rng.NormFloat64()*0.05)))
	}
	for _, a := range [][]float64{{1, 0, 10}, {1, 1e8, 0}, {1, 5e7, 50}} {
		want := truth[0] + truth[1]*a[1] + truth[2]*a[2]
		if got := l.Seconds(a); !near(got, want, 0.12) {
			t.Errorf("%v: %v, want %v", a, got, want)
		}
	}
	if s := l.Spread(); s < 0.02 || s > 0.1 {
		t.Errorf("spread %v, want 0.05", s)
	}
	if inside, outside := l.Deviation([]float64{1, 5e7, 50})/l.Seconds([]float64{1, 5e7, 50}),
		l.Deviation([]float64{5000, 0, 0})/l.Seconds([]float64{5000, 0, 0}); inside >= outside {
		t.Errorf("relative deviation %v where it was measured, %v far away", inside, outside)
	}
}

// A calibration does not outweigh the first run, however far off it was; what that run
// had little of stays as it was calibrated.
func TestFirstRunOutweighsCalibration(t *testing.T) {
	run := []float64{1, 2e7, 100}
	for _, off := range []float64{1.0 / 30, 1.0 / 3, 1, 3, 30} {
		l := Law{}.Calibrated([]float64{off * 0.3, off * 5e-8, off * 0.007})
		const took = 2.0
		l = l.Learn(run, seconds(took))
		if got := l.Seconds(run); got > took*1.5 || got < took/1.5 {
			t.Errorf("calibrated to %.2f s, took %.2f s, then expected to take %.2f s", off*2, took, got)
		}
		if half := l.Seconds([]float64{1, 1e7, 50}); half > took || half < took/4 {
			t.Errorf("half as much, after a calibration to %.2f s: %.2f s", off*2, half)
		}
	}
	link := Law{}.Calibrated([]float64{0.02, 1e-7}).Learn([]float64{2, 1000}, seconds(0.4))
	if got := link.Coef[1]; !near(got, 1e-7, 0.1) {
		t.Errorf("a small question was slow, and 1e-7 s a byte became %v", got)
	}
}

// What a first run took was of its bulk, and later runs tell the rest from it.
func TestFirstRunIsOfItsBulk(t *testing.T) {
	l := Law{Bulk: []int{1, 2}}.Learn([]float64{3, 2e6, 2e6}, seconds(4))
	for _, c := range []struct {
		amounts []float64
		want    float64
	}{{[]float64{30, 2e6, 2e6}, 4}, {[]float64{3, 2e7, 2e7}, 40}, {[]float64{3, 2e6, 0}, 2}} {
		if got := l.Seconds(c.amounts); !near(got, c.want, 0.02) {
			t.Errorf("%v after one run: %.3f s, want %.1f", c.amounts, got, c.want)
		}
	}
	if alone := (Law{Bulk: []int{1, 2}}).Learn([]float64{1, 0, 2e6}, seconds(4)); !near(alone.Seconds([]float64{0, 0, 2e6}), 4, 0.02) {
		t.Errorf("a part of the bulk was never seen: %v", alone.Coef)
	}
	if none := (Law{Bulk: []int{1, 2}}).Learn([]float64{2, 0, 0}, seconds(4)); !near(none.Seconds([]float64{1, 0, 0}), 2, 0.02) {
		t.Errorf("a run without any of the bulk: %v", none.Coef)
	}
	if second := l.Learn([]float64{3, 2e5, 2e5}, seconds(1.3)); !near(second.Coef[0], 1.0/3, 0.02) {
		t.Errorf("a tenth of the bytes took 1.3 s, and one of three begins %.3f s", second.Coef[0])
	}
}

// One odd run moves a law little; a site that has changed is followed.
func TestLawIsRobust(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var l Law
	learn := func(rate float64) { l = l.Learn([]float64{100}, seconds(100*rate*math.Exp(rng.NormFloat64()*0.05))) }
	for range 30 {
		learn(0.01)
	}
	before := l.Coef[0]
	l = l.Learn([]float64{100}, seconds(100))
	if l.Coef[0] > before*1.15 {
		t.Errorf("a run of a hundred times as long moved %v to %v", before, l.Coef[0])
	}
	n := 0
	for ; !near(l.Coef[0], 0.05, 0.1) && n < 100; n++ {
		learn(0.05)
	}
	t.Logf("five times slower: followed after %d runs", n)
	if n > 25 {
		t.Errorf("a site that became five times slower was followed after %d runs", n)
	}
}

// What was never measured is unknown, also beside what was.
func TestLawKnowsWhatItKnows(t *testing.T) {
	l := Law{}.Learn([]float64{1, 0}, time.Second)
	if !l.Knows([]float64{5, 0}) || l.Knows([]float64{1, 1}) || l.Knows([]float64{0, 0, 1}) {
		t.Errorf("%+v", l)
	}
	if (&Law{}).Knows([]float64{1}) {
		t.Error("the zero law knows something")
	}
}
