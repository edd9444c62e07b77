package learn

import (
	"math"
	"runtime"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	c := parseCPU([]byte("cpu  10 20 30 400 50 6 7 8 10 0\ncpu0 1 2 3 4\n"))
	if c.busy != 81 || c.idle != 450 {
		t.Errorf("%+v", c)
	}
	if c := parseCPU([]byte("intr 1")); c.busy != 0 || c.idle != 0 {
		t.Errorf("of something else: %+v", c)
	}
	if share, ok := (cpu{busy: 30, idle: 10}).since(cpu{busy: 3, idle: 1}).share(); !ok || share != 0.75 {
		t.Errorf("%v, %v", share, ok)
	}
	for _, c := range []cpu{{}, {busy: 5, idle: -1}} {
		if _, ok := c.share(); ok {
			t.Errorf("%+v says something", c)
		}
	}
}

// What others had while cores were idle is all that they wanted, whatever happens to
// run at one instant; where no core was idle, that instant counts, too.
func TestWanting(t *testing.T) {
	cores := float64(runtime.NumCPU())
	instant := func() float64 { return 7 }
	for _, c := range []struct {
		summary         string
		busy, idle, own float64
		want            float64
	}{
		{"nobody else", 25, 75, 0.25 * cores, 0},
		{"others beside idle cores", 50, 50, 0.25 * cores, 0.25 * cores},
		{"this process alone, whose ticks were counted short", 25, 75, 0.3 * cores, 0},
		{"no core was idle", 100, 0, 0.5 * cores, 7},
		{"nothing was counted", 0, 0, 0, 7},
	} {
		if got := wanting(cpu{c.busy, c.idle}, c.own, instant); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.summary, got, c.want)
		}
	}
}

// A Load that has not begun, has just begun, or began long ago, says what this instant does.
func TestLoadBegins(t *testing.T) {
	var l Load
	if n := l.Others(); n < 0 {
		t.Errorf("%v threads of others", n)
	}
	if l.begun.IsZero() {
		t.Error("it has not begun by being asked")
	}
	l.begun = time.Now().Add(-2 * mostSpan)
	if l.Others(); time.Since(l.begun) > mostSpan {
		t.Error("what was long ago still counts")
	}
	if own := ownRunning(); own < 1 {
		t.Errorf("%v own threads run", own)
	}
	before := ownSeconds()
	for begun := time.Now(); ownSeconds() == before; {
		if time.Since(begun) > time.Minute {
			t.Fatal("this process took no time of a core in a minute")
		}
	}
}
