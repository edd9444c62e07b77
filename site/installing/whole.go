package installing

import (
	"context"
	"fmt"
	"time"

	"ore"
	"ore/image"
	"ore/install/disk"
	"ore/install/diskimage"
	"ore/install/machine"
	"ore/install/recipe"
	"ore/node/installing"
)

// layoutOf returns the layout of the one disk that a machine of a hypervisor's has,
// of so many bytes.
func layoutOf(r recipe.Recipe, size int64) (disk.Layout, error) {
	seen := disk.Seen{Device: disk.Device{Name: "vda", Links: []string{installing.DiskPath}, Size: size, Sector: sector}}
	return disk.Arrange(machine.Wish(r), []disk.Seen{seen})
}

// whole has r write the image of a disk as large as the job says: the one that is
// kept of r's image and of that disk's layout, which is made if there is none. It
// stays in the cache as other images do, for the next machines.
func (m Maker) whole(ctx context.Context, s *stock, r *recipe.Recipe) error {
	shape, err := m.shape()
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

// shape returns that of the disks of the job's machines.
func (m Maker) shape() (diskimage.Shape, error) {
	l, err := layoutOf(recipe.Recipe{Storage: onItsDisk(m.Job.Machines.Storage), System: m.Job.Machines.System}, m.Job.Machines.Disk)
	if err != nil {
		return diskimage.Shape{}, fmt.Errorf("machines: %w", err)
	}
	s, err := diskimage.ShapeOf(l)
	if err != nil {
		err = fmt.Errorf("install from disk: %w", err)
	}
	return s, err
}

// diskImage gives the image of a disk, and makes it if there is none: of all who
// want it at once, one does.
func (m Maker) diskImage(ctx context.Context, tree image.Manifest, shape diskimage.Shape, watch ore.Watcher) (image.Manifest, func(), error) {
	c := m.Site.Cache
	key := diskimage.Environment(tree.Key, shape).Key()
	made := false
	_, err := c.Share(ctx, key, watch, func(ctx context.Context, tell ore.Watcher) (image.Manifest, error) {
		made = true
		// Both the file system and the layer take less than the tree does, but for what
		// file systems keep books with.
		space, err := c.Reserve(ctx, 2*tree.Bytes, "the disk image of "+tree.Key.Short())
		if err != nil {
			return image.Manifest{}, err
		}
		defer space.Release()
		begun := time.Now()
		img, err := diskimage.Make(ctx, c.Store, tree, shape, tell)
		if err != nil {
			return img, err
		}
		return c.Register(ctx, img, time.Since(begun))
	})
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
