package installing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ore"
	"ore/install/disk"
	"ore/install/fit"
	"ore/install/recipe"
	"ore/node/installing"
	"ore/site/disks"
)

// Lock resolves what machines are to have, unless it is known already that their
// disks cannot hold it as they are described: nobody waits for an image to hear that.
func (d *decider) Lock(ctx context.Context, w ore.Wants, watch ore.Watcher) (ore.Environment, error) {
	if err := Check(d.maker.Job.Machines); err != nil {
		return ore.Environment{}, err
	}
	if d.maker.direct {
		if _, err := d.maker.archives(); err != nil {
			return ore.Environment{}, err
		}
	}
	env, err := d.Images.Lock(ctx, w, watch)
	if err != nil {
		return env, err
	}
	return env, Fits(d.maker.Job.Machines, env, d.maker.From)
}

// Check says whether the disks of machines that install themselves can hold what is
// described.
func Check(m ore.Machines) error { return Fits(m, ore.Environment{}, "") }

// rootOf says where the root of a machine will be, and refuses a layout that does
// not fit onto its disk, or has no room for what comes onto it, before anything is started.
func rootOf(r recipe.Recipe, size int64) (installing.Root, error) {
	l, err := disks.Layout(r, size)
	if err != nil {
		return installing.Root{}, err
	}
	if err := fit.Room(r, l); err != nil {
		return installing.Root{}, err
	}
	root := installing.Root{Arrays: len(l.Arrays) > 0, Volumes: len(l.Groups) > 0}
	for _, m := range l.FileSystems() {
		fs := installing.FileSystem{UUID: m.UUID, FS: m.FS, Part: number(l, m)}
		switch m.Mount {
		case "/":
			root.FileSystem = fs
		case "/usr":
			root.Usr = &fs
		default:
			root.More = true
		}
		for _, name := range modules(m.FS) {
			if !slices.Contains(root.Modules, name) {
				root.Modules = append(root.Modules, name)
			}
		}
	}
	if root.UUID == "" {
		return root, errors.New("no file system is mounted on /: describe one")
	}
	for _, a := range l.Arrays {
		root.Modules = append(root.Modules, level(a.Level))
	}
	if root.Volumes {
		root.Modules = append(root.Modules, "dm-mod")
	}
	return root, nil
}

// number returns the number of the partition that a kernel alone mounts a file
// system from; 0 if there is none.
func number(l disk.Layout, m disk.Made) int {
	if m.FS != "ext4" {
		return 0
	}
	return 1 + slices.IndexFunc(l.Disks[0].Parts, func(p disk.Made) bool { return p.UUID == m.UUID })
}

// modules returns what a file system needs that kernels do not have at the start.
// vfat's names need tables of characters, which are modules, too.
func modules(fs string) []string {
	switch fs {
	case "xfs", "btrfs":
		return []string{fs}
	case "vfat":
		return []string{"vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii", "nls_utf8"}
	}
	return nil
}

// level returns the module of a level of arrays (md(4)).
func level(n int) string {
	switch n {
	case 4, 5, 6:
		return "raid456"
	}
	return fmt.Sprintf("raid%d", n)
}
