package site

import (
	"context"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/plan"
	"ore/site/race"
)

// makeBy makes the image by the plan's way, or by two ways at once where the
// plan says that this is worth it.
func (m *images) makeBy(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	ways := race.Ways[image.Manifest]{
		Fetch: func(ctx context.Context, o plan.Option) (image.Manifest, error) {
			return m.take(ctx, o, mk, watch)
		},
		Build: func(ctx context.Context, o plan.Option) (image.Manifest, error) {
			mk := mk
			mk.Plan.Options = append([]plan.Option{o}, mk.Plan.Options...) // as if it had been chosen
			return m.register(ctx, mk, watch)
		},
		Watch: watch,
	}
	return ways.Make(ctx, mk.Plan, m.site.Hedge)
}
