package installing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ore"
	"ore/image/export"
	"ore/install/fit"
	"ore/install/recipe"
	"ore/site/disks"
)

// Fits says whether the disks of machines that install themselves have room for an
// environment, as far as that is known of its packages: from is how it is installed, ""
// if nobody has said it.
func Fits(m ore.Machines, env ore.Environment, from recipe.Strategy) error {
	if m.Root != ore.OnDisk {
		return nil
	}
	r := recipe.Recipe{Storage: disks.Of(m.Storage), System: m.System, Environment: env}
	if from == recipe.Packages || from == recipe.Base {
		r.Strategy = from // else an image is written, whose size is not known yet
	}
	if _, err := rootOf(r, m.Disk); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	return nil
}

// look has r say what its finished image takes of each file system, and refuses what the
// image shows to be wrong with the description. It reads the names of the image's tree,
// if anything depends on them.
func (m Maker) look(ctx context.Context, r *recipe.Recipe) (err error) {
	mounts := fit.Mounts(r.Storage)
	grouped := slices.ContainsFunc(r.System.Users, func(u ore.User) bool { return len(u.Groups) > 0 })
	if len(mounts) == 1 && r.System.TimeZone == "" && !grouped {
		return nil
	}
	t, err := export.Open(ctx, m.Site.Cache.Store, *r.Image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := fit.System(r.System, t.Entries); err != nil {
		return fmt.Errorf("machines: %w", err)
	}
	if len(mounts) > 1 {
		r.Holds = fit.Holds(t.Entries, mounts)
	}
	return nil
}
