package machine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ore"
	"ore/install/disk"
	"ore/install/drivers"
	"ore/install/recipe"
)

const (
	// probeTime is how long a disk may take to show itself once its driver is
	// there: disks spin up, USB waits for those that are slow to settle.
	probeTime = 20 * time.Second
	// probeEvery is how often the kernel is asked meanwhile.
	probeEvery = 200 * time.Millisecond
)

// hardware loads modules, finds the disks and computes the layout. Nothing is
// written.
func (u *run) hardware(ctx context.Context) error {
	u.load(ctx)
	deadline := time.Now().Add(probeTime)
	for {
		all, err := u.devices()
		if err != nil {
			return err
		}
		if len(all) >= max(1, len(u.recipe.Storage.Disks)) || time.Now().After(deadline) {
			if err := u.arrange(all); err != nil {
				return err
			}
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(probeEvery):
		}
	}
	if err := u.free(); err != nil {
		return err
	}
	for i, d := range u.recipe.Storage.Disks {
		u.layout.Disks[i].Wipe = d.Wipe
	}
	u.tell.advance(ore.Event{Text: u.describe(), Final: true})
	if u.layout.State() == disk.Installed {
		return nil
	}
	return u.layout.Refuse()
}

// arrange computes the layout from what the disks hold. One that cannot be read
// matters only if it is one of the machine's.
func (u *run) arrange(all []disk.Device) error {
	var seen []disk.Seen
	broken := map[string]error{}
	for _, d := range all {
		s, err := disk.Look(d)
		if err != nil {
			broken[d.Name] = err
		}
		seen = append(seen, s)
	}
	var err error
	if u.layout, err = disk.Arrange(Wish(u.recipe), seen); err != nil {
		return err
	}
	for _, d := range u.layout.Disks {
		if err := broken[d.Name]; err != nil {
			return err
		}
	}
	return nil
}

// devices returns the disks that a description may mean: virtual ones only where
// they are named, so that no other is even read.
func (u *run) devices() ([]disk.Device, error) {
	all, err := u.Kernel.Devices()
	return slices.DeleteFunc(all, func(d disk.Device) bool { return d.Virtual && !named(u.recipe, d) }), err
}

// named says whether a disk of the recipe is described by a path.
func named(r recipe.Recipe, d disk.Device) bool {
	for _, described := range r.Storage.Disks {
		p := described.Match.Path
		for _, name := range append([]string{d.Path()}, d.Links...) {
			if ok, err := filepath.Match(p, name); err == nil && ok || p == name {
				return true
			}
		}
	}
	return false
}

// free ends what an earlier try, whose program was killed, runs on our disks.
func (u *run) free() error {
	if s := u.layout.State(); s != disk.Begun && s != disk.Formatted {
		return nil
	}
	if len(u.layout.Arrays)+len(u.layout.Groups) == 0 {
		return nil
	}
	disk.Doer{Command: u.Command}.Release(u.layout)
	all, err := u.devices()
	if err != nil {
		return err
	}
	return u.arrange(all)
}

// describe says for people what was found.
func (u *run) describe() string {
	var text []string
	for _, d := range u.layout.Disks {
		model := ""
		if d.Model != "" {
			model = " " + d.Model
		}
		text = append(text, fmt.Sprintf("%s%s of %d MiB, with %s", d.Path(), model, d.Size>>20, d.Holds))
	}
	cards, _ := filepath.Glob(filepath.Join(u.Kernel.Root, "sys/class/net/*/device"))
	for _, c := range cards {
		text = append(text, "card "+filepath.Base(filepath.Dir(c)))
	}
	return strings.Join(text, ", ")
}

// load loads the modules of the devices and those of the file systems.
func (u *run) load(ctx context.Context) {
	drivers.Load(ctx, u.Kernel.Root, u.Command)
	names := []string{"ext4", "xfs", "btrfs", "vfat", "nls_ascii", "nls_cp437", "overlay", "squashfs", "loop"}
	if len(u.recipe.Storage.Arrays) > 0 {
		names = append(names, "raid0", "raid1", "raid10", "raid456")
	}
	if len(u.recipe.Storage.Volumes) > 0 {
		names = append(names, "dm_mod")
	}
	drivers.Named(ctx, u.Command, names...)
}
