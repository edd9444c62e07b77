package installing

import (
	"cmp"
	"context"
	"fmt"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/install/recipe"
	"ore/node"
	"ore/node/installing"
	"ore/plan"
)

// decider has machines install themselves as the plan says, and makes the image if
// that is what they do it from.
type decider struct {
	cluster.Images
	maker Maker
}

// Make makes the image, or gives what it would be, without layers.
func (d *decider) Make(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, func(), error) {
	o := mk.Plan.Chosen()
	d.maker.From = cmp.Or(recipe.Strategy(o.Strategy), d.maker.From, recipe.Whole)
	if o.Strategy != "" {
		watch.Tell(ore.Event{Stage: "note", Text: chosen(mk.Plan)})
	}
	if d.maker.From == recipe.Whole {
		return d.Images.Make(ctx, mk, watch)
	}
	return image.Manifest{Version: image.ManifestVersion, Key: mk.Environment.Key(), Environment: mk.Environment}, func() {}, nil
}

// chosen says in a line how machines install themselves, and what lost.
func chosen(p plan.Plan) string {
	o := p.Chosen()
	s := "machines install themselves from " + o.Strategy
	if o.Known {
		s += fmt.Sprintf(", predicted %.1f s", o.Total.Middle)
	}
	for _, other := range p.Options[1:] {
		if other.Possible && other.Strategy != o.Strategy {
			return s + "; from " + other.Strategy + ": " + other.Why
		}
	}
	return s
}

// order is a cluster.Install.
func (d *decider) order(ctx context.Context, img image.Manifest, machines []node.Machine) (*installing.Order, func() error, error) {
	return d.maker.order(ctx, img, machines)
}
