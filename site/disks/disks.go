// Package disks says which layout the one disk has that a machine of a hypervisor
// gets, and whether there is an image of such a disk (package diskimage) with a
// certain tree.
package disks

import (
	"context"
	"fmt"
	"slices"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/disk"
	"ore/install/diskimage"
	"ore/install/fit"
	"ore/install/machine"
	"ore/install/recipe"
	"ore/node/installing"
)

// sector is that of the disks that hypervisors make.
const sector = 512

// Of has a description mean the one disk that a machine has: beside it the installer
// sees others, which are what it is made of.
func Of(s ore.Storage) ore.Storage {
	if s.Empty() {
		s = disk.Default()
	}
	s.Disks = slices.Clone(s.Disks)
	for i := range s.Disks {
		if s.Disks[i].Match.Path == "" {
			s.Disks[i].Match.Path = installing.DiskPath
		}
	}
	return s
}

// Layout returns the layout that a machine makes of a disk of so many bytes.
func Layout(r recipe.Recipe, size int64) (disk.Layout, error) {
	seen := disk.Seen{Device: disk.Device{Name: "vda", Links: []string{installing.DiskPath}, Size: size, Sector: sector}}
	return disk.Arrange(machine.Wish(r), []disk.Seen{seen})
}

// Shape returns what the images of the disks of such machines depend on beside their
// tree, or says why there are none.
func Shape(m ore.Machines) (diskimage.Shape, error) {
	l, err := Layout(recipe.Recipe{Storage: Of(m.Storage), System: m.System}, m.Disk)
	if err != nil {
		return diskimage.Shape{}, fmt.Errorf("machines: %w", err)
	}
	s, err := diskimage.ShapeOf(l)
	if err != nil {
		err = fmt.Errorf("install from disk: %w", err)
	}
	return s, err
}

// Kept returns the disk image of an environment's tree that is kept for such
// machines: without a size where none is, nil where there can be none.
func Kept(ctx context.Context, c *cache.Cache, tree ore.Key, m ore.Machines) *image.Layer {
	s, err := Shape(m)
	if err != nil {
		return nil
	}
	if found, err := c.Find(ctx, diskimage.Environment(tree, s).Key()); err == nil {
		return &found.Layers[0]
	}
	return &image.Layer{}
}

// Unfit returns the strategies by which such machines cannot install themselves, since
// what is to become an environment needs more room on / than it has in the end.
func Unfit(m ore.Machines, env ore.Environment) []string {
	var all []string
	for _, s := range []recipe.Strategy{recipe.Base, recipe.Packages} {
		r := recipe.Recipe{Storage: Of(m.Storage), System: m.System, Environment: env, Strategy: s}
		l, err := Layout(r, m.Disk)
		if err == nil && fit.Room(r, l) != nil { // a layout that cannot be is refused elsewhere
			all = append(all, string(s))
		}
	}
	return all
}
