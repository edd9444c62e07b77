package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"ore/plan"
)

// installHome is the home of machines that install themselves.
const installHome = "install"

// installCommand is ore run with one machine that installs BLAST onto its disk.
func (b *bench) installCommand(from string) *command {
	return b.oreCommand(b.home(installHome), "run", "-q", "--results", filepath.Join(b.home(installHome), "results"), "--base", "debian/"+suite,
		"--hypervisor", "uml", "--root", "disk", "--install-from", from, "--memory", "512M", "--disk", "2G", "-p", wanted, "--", "true")
}

// prepareInstall makes the installer, the image and all else that is not the
// machine's, by running once each.
func prepareInstall(from string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		for _, f := range []string{plan.FromImage, from} { // with the image there, none is kept of what was installed
			if b.keys[installHome+f] != "" {
				continue
			}
			b.keys[installHome+f] = "made"
			if err := b.account.run(ctx, b.installCommand(f)); err != nil {
				return err
			}
		}
		return os.RemoveAll(filepath.Join(b.home(installHome), "results"))
	}
}

// runInstall times the machine's install, the stages in which its tree comes to its
// disk: not how it starts, divides its disk, or starts again.
func runInstall(name string, from string) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, round int) error {
		clock := startClock(name, round)
		c := b.installCommand(from)
		if err := b.account.run(ctx, c); err != nil {
			return err
		}
		s := clock.stop(c.cpu)
		results := filepath.Join(b.home(installHome), "results")
		r, err := resultIn(results)
		if err != nil {
			return err
		}
		s.Value, s.Stages = 0, map[string]float64{"whole command": s.Value}
		for _, g := range r.Timeline {
			if took := g.End.Sub(g.Start).Seconds(); g.Machine != "" {
				s.Stages[g.Name] += took
				if g.Name == plan.Pour || g.Name == plan.Packages {
					s.Value += took
				}
			}
		}
		if s.Value == 0 {
			return errors.New("the timeline has no install")
		}
		return errors.Join(b.record.add(s), os.RemoveAll(results))
	}
}
