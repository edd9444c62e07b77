package install

import (
	"context"
	"errors"
	"testing"

	"ore"
)

// A build that is cancelled says so, and not how its worker ended.
func TestCancelledBuildSaysSo(t *testing.T) {
	env, a := lock(t, "bookworm")
	b := builder(t, testDir(t), a)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.Watch = func(e ore.Event) {
		if e.Stage != "fetch" { // the worker is at work
			cancel()
		}
	}
	if _, err := b.Build(ctx, Request{Environment: env}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
