package calibrate

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	"ore/plan"
)

func TestHost(t *testing.T) {
	dir := t.TempDir()
	begun := time.Now()
	c, err := Host(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v in %v", c, time.Since(begun))
	if c.Decode < 1e4 || c.Compress < 1e5 || c.Hash < 1e5 || c.Create < 1 || c.Process <= 0 || c.Process > 10 { // on a host that is busy
		t.Errorf("%+v", c)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Work that others keep from the cores for most of the time is rated as alone; work
// that waits whenever it is done is not.
func TestLoadOfOthersIsLeftOut(t *testing.T) {
	ctx, sample := t.Context(), make([]byte, 8*sampleSize)
	const pause = 20 * time.Millisecond
	away := func() { <-time.After(pause) } // stands for a core that works for others
	rate := func(waits func(n int) bool) float64 {
		n := 0
		r, err := repeat(ctx, func() (float64, error) {
			if sha256.Sum256(sample); waits(n) {
				away()
			}
			n++
			return 1, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	alone := rate(func(int) bool { return false })
	if beside := rate(func(n int) bool { return n%4 != 0 }); beside < alone/4 {
		t.Errorf("%.0f a second beside others, %.0f alone", beside, alone)
	}
	if always, most := rate(func(int) bool { return true }), 1/pause.Seconds(); always > most {
		t.Errorf("%.0f a second of what waits always, at most %.0f can be", always, most)
	}
}

// What seconds of trying say of a host stays near what hosts are.
func TestBounded(t *testing.T) {
	usual := Prior()
	slow := bounded(plan.Calibration{Decode: 1, Compress: 1, Hash: 1, Create: 1, Process: 10})
	fast := bounded(plan.Calibration{Decode: 1e15, Compress: 1e15, Hash: 1e15, Create: 1e15, Process: 1e-15})
	for what, v := range map[string][3]float64{
		"decode":   {slow.Decode, usual.Decode, fast.Decode},
		"compress": {slow.Compress, usual.Compress, fast.Compress},
		"hash":     {slow.Hash, usual.Hash, fast.Hash},
		"create":   {slow.Create, usual.Create, fast.Create},
		"process":  {fast.Process, usual.Process, slow.Process},
	} {
		if v[0] != v[1]/farthest || v[2] != v[1]*farthest {
			t.Errorf("%s is bounded to %v and %v, usual is %v", what, v[0], v[2], v[1])
		}
	}
	if got := bounded(usual); got.Create != usual.Create || got.Process != usual.Process {
		t.Errorf("%+v became %+v", usual, got)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Host(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestLink(t *testing.T) { synctest.Test(t, testLink) }

func testLink(t *testing.T) {
	packages := make([]ore.Package, 20)
	begun := time.Now()
	stalled := func(ctx context.Context, p []ore.Package, w ore.Watcher) error {
		if len(p) == few {
			return nil
		}
		w.Tell(ore.Event{Done: 500})
		<-ctx.Done()
		return ctx.Err()
	}
	try, ok, err := Link(t.Context(), packages, stalled)
	if least := 500 / time.Since(begun).Seconds(); err != nil || !ok || try.Rate < least || try.Rate > 500 {
		t.Errorf("a link too slow for all: %+v, %v, %v", try, ok, err)
	}
	if _, ok, err := Link(t.Context(), packages[:few], stalled); ok || err != nil {
		t.Errorf("nothing to fetch: %v, %v", ok, err)
	}
	broken := errors.New("broken")
	if _, ok, err := Link(t.Context(), packages, func(context.Context, []ore.Package, ore.Watcher) error { return broken }); ok || !errors.Is(err, broken) {
		t.Errorf("a broken link: %v, %v", ok, err)
	}
}
