// Package elsewhere is 'ore up' on other hosts: a process that stays here keeps the
// machines (package ore/site/keeper).
package elsewhere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cluster"
	"ore/cmd/ore/fleet"
	"ore/guest"
	"ore/site"
	"ore/site/keeper"
	"ore/site/ledger"
)

// Bed is what there is to know about kept machines beside their job.
type Bed struct {
	Hosts fleet.Hosts
	Piped bool // the job came by standard input

	walltime time.Duration
	keeper   bool // this process keeps them
}

// keeperFlag has 'ore up' be the keeper that another one began.
const keeperFlag = "keeper"

// Flags adds those that say where machines are kept.
func (b *Bed) Flags(c *cobra.Command, version string) {
	b.Hosts.Version = version
	b.Hosts.Flags(c)
	c.Flags().DurationVar(&b.walltime, "walltime", 0, "with --engine slurm: `time` that the machines may be kept; default: the partition's")
	c.Flags().BoolVar(&b.keeper, keeperFlag, false, "keep the machines")
	_ = c.Flags().MarkHidden(keeperFlag) // fails only for a flag that there is not
}

// Shell is what the command is connected to.
type Shell struct {
	Out  io.Writer
	Own  func(ore.Job) ([]guest.File, error) // what each machine is given beside the image
	View func(ore.Job) (watch ore.Watcher, end func())
}

// ErrUsage matches what is wrong with the words of the command line.
var ErrUsage = errors.New("up")

// Up starts the machines of j under a name and writes down that they are kept. In
// their keeper it keeps them, and returns when they have ended.
func (b *Bed) Up(ctx context.Context, s *site.Site, j ore.Job, id string, sh Shell) (keeper.Up, error) {
	switch {
	case j.Machines.Root == ore.OnDisk:
		return keeper.Up{}, fmt.Errorf("%w: root is disk: kept machines install themselves on this host only: leave --engine out, or use root: mount", ErrUsage)
	case b.Piped:
		return keeper.Up{}, fmt.Errorf("%w: with --engine the job file is read again by the process that keeps the machines: give it as a file, not as standard input", ErrUsage)
	}
	if b.walltime > 0 {
		j.Run.Timeout = b.walltime
	}
	if b.keeper {
		return keeper.Up{}, keeper.Keep(ctx, s, keeper.Job{Job: j, ID: id, Config: func(w ore.Watcher) (c cluster.Config, err error) {
			c = s.KeptConfig(id, w)
			if c.Own, err = sh.Own(j); err != nil {
				return c, err
			}
			return c, b.Hosts.Use(s, &c, j)
		}}, sh.Out)
	}
	watch, end := sh.View(j)
	kept, up, err := keeper.Begin(ctx, append(os.Args[1:], "--"+keeperFlag), watch)
	end()
	if err != nil {
		return up, fmt.Errorf("up: %w", err)
	}
	r := ledger.Record{ID: id, Name: id, Command: []string{"(machines kept on other hosts)"}, Begun: time.Now(), Machines: len(up.Machines), Kept: true, Start: up.Start}
	if err := s.Keep(r); err != nil {
		return up, errors.Join(err, kept.End())
	}
	return up, kept.HandOver()
}

// Keeper says whether this process keeps the machines, and tells nothing itself.
func (b *Bed) Keeper() bool { return b.keeper }
