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
	"ore/site/disks"
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
	switch d.maker.From {
	case recipe.Whole:
		return d.Images.Make(ctx, mk, watch)
	case recipe.Disk:
		return d.both(ctx, mk, watch)
	}
	return image.Manifest{Version: image.ManifestVersion, Key: mk.Environment.Key(), Environment: mk.Environment}, func() {}, nil
}

// both makes the image and that of the machines' disks.
func (d *decider) both(ctx context.Context, mk cluster.Make, watch ore.Watcher) (image.Manifest, func(), error) {
	shape, err := disks.Shape(d.maker.Job.Machines)
	if err != nil {
		return image.Manifest{}, nil, err
	}
	tree, release, err := d.Images.Make(ctx, mk, watch)
	if err != nil {
		return tree, nil, err
	}
	_, also, err := d.maker.diskImage(ctx, tree, shape, watch)
	if err != nil {
		release()
		return tree, nil, err
	}
	return tree, func() { also(); release() }, nil
}

// Have says whether there is an image of the machines' disks, too, or could be.
func (d *decider) Have(ctx context.Context, env ore.Environment) (plan.Have, error) {
	h, err := d.Images.Have(ctx, env)
	if err != nil {
		return h, err
	}
	if d.maker.From == recipe.Disk {
		if _, err := disks.Shape(d.maker.Job.Machines); err != nil {
			return h, err // there are other ways, but no other is wanted
		}
	}
	h.Disk = disks.Kept(ctx, d.maker.Site.Cache, env.Key(), d.maker.Job.Machines)
	return h, nil
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
