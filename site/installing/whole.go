package installing

import (
	"context"

	"ore"
	"ore/image"
	"ore/install/diskimage"
	"ore/install/recipe"
	"ore/site"
	"ore/site/disks"
)

// WholeDisk makes the image of the disk of a machine that is to become what j says, if
// there is none, and returns it and whether it was made now. With a firmware the machine
// is one that boots from the network; without, one that 'ore run' starts.
func WholeDisk(ctx context.Context, s *site.Site, j ore.Job, f ore.Firmware, watch ore.Watcher) (img image.Manifest, made bool, err error) {
	if f != "" {
		j = Netbooted(j, f)
	} else {
		j.Machines.Root = ore.OnDisk
		Complete(&j)
	}
	shape, err := disks.Shape(j.Machines) // what cannot be is refused before anything is made
	if err != nil {
		return img, false, err
	}
	tree, err := s.Build(ctx, j.Wants, watch)
	if err != nil {
		return img, false, err
	}
	tree, release, err := s.Cache.Acquire(ctx, tree.Key)
	if err != nil {
		return img, false, err
	}
	defer release()
	key, made, err := disks.Make(ctx, s.Cache, tree, shape, watch)
	if err != nil {
		return img, made, err
	}
	img, err = s.Cache.Find(ctx, key)
	return img, made, err
}

// whole has r write the image of a disk as large as the job says: the one that is
// kept of r's image and of that disk's layout, which is made if there is none. It
// stays in the cache as other images do, for the next machines.
func (m Maker) whole(ctx context.Context, s *stock, r *recipe.Recipe) error {
	shape, err := disks.Shape(m.Job.Machines)
	if err != nil {
		return err
	}
	img, err := s.hold(m.diskImage(ctx, *r.Image, shape, m.Watch))
	if err != nil {
		return err
	}
	d, err := diskimage.Of(img, shape)
	r.Disk = &d
	return err
}

// diskImage gives the image of a disk, and makes it if there is none: of all who
// want it at once, one does.
func (m Maker) diskImage(ctx context.Context, tree image.Manifest, shape diskimage.Shape, watch ore.Watcher) (image.Manifest, func(), error) {
	c := m.Site.Cache
	key, made, err := disks.Make(ctx, c, tree, shape, watch)
	if err != nil {
		return image.Manifest{}, nil, err
	}
	img, release, err := c.Acquire(ctx, key)
	if err == nil && !made {
		err = c.Touch(ctx, key)
	}
	if err != nil && release != nil {
		release()
	}
	return img, release, err
}

// layers returns the layers that machines write by a recipe: of a disk image, and of
// the tree, unless that is not to be had beside it.
func layers(r recipe.Recipe) []image.Layer {
	var all []image.Layer
	if r.Disk != nil {
		all = append(all, r.Disk.Layer)
	}
	if r.Image != nil && (r.Disk == nil || r.Pourable()) {
		all = append(all, r.Image.Layers...)
	}
	return all
}
