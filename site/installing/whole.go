package installing

import (
	"context"

	"ore"
	"ore/image"
	"ore/install/diskimage"
	"ore/install/recipe"
	"ore/site/disks"
)

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
