package site

import (
	"context"
	"fmt"
	"time"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/plan"
	"ore/site/race"
)

// makeBy makes the image by the plan's way, or by two ways at once where the
// plan says that this is worth it.
func (m *images) makeBy(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	chosen := mk.Plan.Chosen()
	if h, ok := mk.Plan.Hedge(m.site.Hedge); ok && (h.First.Way == plan.Fetched || h.Second.Way == plan.Fetched) {
		watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("by two ways at once, %s and %s: %.1f s may be won", h.First.Way, h.Second.Way, h.Gain)})
		price := time.Duration(h.Price * float64(time.Second))
		img, err := race.Between(ctx, price, m.by(h.First, mk, watch), m.by(h.Second, mk, watch))
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
		watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: it is built here", err), Final: true})
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
