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
	"ore/site/installing/choice"
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
		watch.Tell(ore.Event{Stage: "note", Text: choice.Text(mk.Plan)})
	}
	switch d.maker.From {
	case recipe.Whole:
		img, release, err := d.Images.Make(ctx, mk, watch)
		if err == nil && d.maker.Site != nil && better(mk.Plan) {
			d.later(img.Key, watch)
		}
		return img, release, err
	case recipe.Disk:
		return d.both(ctx, mk, watch)
	}
	return image.Manifest{Version: image.ManifestVersion, Key: mk.Environment.Key(), Environment: mk.Environment}, func() {}, nil
}

// better says whether a disk image lost only since it is not there: it would be
// made, and then each machine be ready sooner.
func better(p plan.Plan) bool {
	for _, o := range p.Options {
		if o.Strategy != plan.FromDisk || !o.Possible || !o.Known {
			continue
		}
		for _, e := range o.Stages {
			if e.Stage == plan.DiskImage && o.Total.Middle-e.Seconds.Middle < p.Chosen().Total.Middle {
				return true
			}
		}
	}
	return false
}

// later has the machines' disk image made when the host is idle, if such machines
// come again and again. That it cannot be noted costs no more than it.
func (d *decider) later(tree ore.Key, watch ore.Watcher) {
	shape, err := disks.Shape(d.maker.Job.Machines)
	if err != nil {
		return
	}
	due, err := disks.Book{Cache: d.maker.Site.Cache}.Note(tree, shape)
	if err == nil && due && d.maker.Site.Later != nil {
		if err = d.maker.Site.Later(); err == nil {
			watch.Tell(ore.Event{Stage: "note", Text: "such machines come again: the image of their disk is made when the host is idle"})
		}
	}
	if err != nil {
		watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("the image of the machines' disk is not made later: %v", err)})
	}
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

// Have says whether there is an image of the machines' disks, too, or could be, and what
// they have no room for.
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
	h.Disk, h.Unfit = disks.Kept(ctx, d.maker.Site.Cache, env.Key(), d.maker.Job.Machines), disks.Unfit(d.maker.Job.Machines, env)
	return h, nil
}

// order is a cluster.Install.
func (d *decider) order(ctx context.Context, img image.Manifest, machines []node.Machine) (*installing.Order, func() error, error) {
	return d.maker.order(ctx, img, machines)
}
