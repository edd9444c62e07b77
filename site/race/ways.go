package race

import (
	"context"
	"fmt"
	"time"

	"ore"
	"ore/plan"
)

// Ways makes one thing by the options of a plan.
type Ways[T any] struct {
	Fetch func(context.Context, plan.Option) (T, error) // by what another has, as it is
	Build func(context.Context, plan.Option) (T, error) // here, by packages, also over what exists
	Watch ore.Watcher                                   // is told of two at once, and of what failed
}

// Make makes it by the way that p has chosen, or by two at once where rule says that
// this is worth it: one that fetches and one that builds. What cannot be fetched is
// built, by the best of the plan's ways to do so.
func (w Ways[T]) Make(ctx context.Context, p plan.Plan, rule plan.HedgeRule) (T, error) {
	var made T
	var err error
	if h, ok := p.Hedge(rule); ok && apart(h) {
		w.Watch.Tell(ore.Event{Stage: "image", Text: fmt.Sprintf("by two ways at once, %s and %s: %.1f s may be won", h.First.Way, h.Second.Way, h.Gain)})
		price := time.Duration(h.Price * float64(time.Second))
		made, err = Between(ctx, price, w.by(h.First), w.by(h.Second))
	} else if o := p.Chosen(); o.Way == plan.Fetched {
		made, err = w.Fetch(ctx, o)
	} else {
		return w.Build(ctx, building(p))
	}
	if err == nil || ctx.Err() != nil {
		return made, err
	}
	w.Watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: it is built here", err), Final: true})
	return w.Build(ctx, building(p))
}

// apart says whether one of two ways fetches and the other builds: two builds hold
// each other up.
func apart(h plan.Hedged) bool {
	return h.First.Way == plan.Fetched && builds(h.Second) || builds(h.First) && h.Second.Way == plan.Fetched
}

// by returns what makes the thing by o.
func (w Ways[T]) by(o plan.Option) func(context.Context) (T, error) {
	do := w.Fetch
	if builds(o) {
		do = w.Build
	}
	return func(ctx context.Context) (T, error) { return do(ctx, o) }
}

// builds says whether o installs something.
func builds(o plan.Option) bool {
	return o.Way == plan.Delta || o.Way == plan.Partial || o.Way == plan.Clean
}

// building returns the best option of p that builds. There is always one.
func building(p plan.Plan) plan.Option {
	for _, o := range p.Options {
		if o.Possible && builds(o) {
			return o
		}
	}
	return plan.Option{Way: plan.Clean, Candidate: -1}
}
