package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/plan"
)

// makeBy makes the image by the plan's way, or by two ways at once where the
// plan says that this is worth it.
func (m *images) makeBy(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	chosen := mk.Plan.Chosen()
	if h, ok := mk.Plan.Hedge(m.site.Hedge); ok && (h.First.Way == plan.Fetched || h.Second.Way == plan.Fetched) {
		watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("by two ways at once, %s and %s: %.1f s may be won", h.First.Way, h.Second.Way, h.Gain)})
		price := time.Duration(h.Price * float64(time.Second))
		img, err := race(ctx, price, m.by(h.First, mk, watch), m.by(h.Second, mk, watch))
		if err == nil || ctx.Err() != nil {
			return img, err
		}
		watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("%v: it is built here", err)})
		return m.register(ctx, mk, watch)
	}
	if chosen.Way == plan.Fetched {
		img, err := m.by(chosen, mk, watch)(ctx)
		if err == nil || ctx.Err() != nil {
			return img, err
		}
		watch.Tell(ore.Event{Stage: plan.Pull, Text: fmt.Sprintf("%v: it is built here", err), Final: true})
	}
	return m.register(ctx, mk, watch)
}

// by returns what makes the image by one way.
func (m *images) by(o plan.Option, mk cluster.Make, watch ore.Watcher) func(context.Context) (image.Manifest, error) {
	return func(ctx context.Context) (image.Manifest, error) {
		if o.Way == plan.Fetched {
			return m.take(ctx, o, mk, watch)
		}
		return m.register(ctx, mk, watch)
	}
}

// errLost is why the slower of two ways ended.
var errLost = errors.New("another way was faster")

// race calls first and second at once and returns what the earlier good one
// gives, when both have ended. After price, second is given up unless first
// failed. The error is that of both.
func race(ctx context.Context, price time.Duration, first, second func(context.Context) (image.Manifest, error)) (image.Manifest, error) {
	type end struct {
		img    image.Manifest
		err    error
		second bool
	}
	ends := make(chan end, 2)
	start := func(do func(context.Context) (image.Manifest, error), isSecond bool) context.CancelCauseFunc {
		ctx, cancel := context.WithCancelCause(ctx)
		go func() {
			img, err := do(ctx)
			if err != nil && errors.Is(context.Cause(ctx), errLost) {
				err = errLost
			}
			ends <- end{img, err, isSecond}
		}()
		return cancel
	}
	stopFirst, stopSecond := start(first, false), start(second, true)
	defer stopFirst(nil)
	defer stopSecond(nil)
	late := time.NewTimer(price)
	defer late.Stop()
	var won *end
	var errs []error
	for ended := 0; ended < 2; {
		select {
		case e := <-ends:
			ended++
			if e.err == nil && won == nil {
				won = &e
				stopFirst(errLost)
				stopSecond(errLost)
			} else if e.err != nil {
				errs = append(errs, e.err)
			}
		case <-late.C:
			if len(errs) == 0 { // the first is under way still
				stopSecond(errLost)
			}
		}
	}
	if won != nil {
		return won.img, nil
	}
	return image.Manifest{}, errors.Join(errs...)
}
