package calibrate

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"ore"
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

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Host(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestLink(t *testing.T) {
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
