// Package keeping has the commands for machines that are kept although they did
// not become what they should: those whose installation failed.
//
// `ore up` and `ore run` leave such machines as they are with --keep-failed, in
// their installer, with what it wrote on their disks. `ore console` shows what they
// said, `ore shell` and `ore exec` work on them, and `ore retry` has the installer
// go on: with the package or step that failed, if packages or steps failed, else
// from the start. When it ends well, the machine starts from its disk, and is one of
// the kept machines like any other.
package keeping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"ore"
	"ore/cluster"
	"ore/node"
	"ore/site"
	"ore/site/installing"
	"ore/site/ledger"
)

// Machines are those that a command is about.
type Machines struct {
	*node.Client
	Record ledger.Record
}

// Shell is what the commands need of the program.
type Shell struct {
	Out io.Writer
	// On has f do a command on the machines that its first argument names.
	On   func(f func(ctx context.Context, s *site.Site, m Machines, args []string) error) func(*cobra.Command, []string) error
	View func() (watch ore.Watcher, end func())
	Tell func([]node.Started) error // of machines that are ready
}

// Keeper keeps machines whose installation failed.
type Keeper struct {
	Book   ledger.Book
	Record *ledger.Record // of the job

	failed []node.Started
}

// Keep is for a cluster.Config.
func (k *Keeper) Keep(bed *cluster.Bed) (err error) {
	k.failed = nil
	if k.Record.Start, err = bed.Encode(); err != nil {
		return err
	}
	k.Record.Kept = true
	if err := k.Book.Keep(*k.Record); err != nil {
		return err
	}
	for _, m := range bed.Machines {
		if m.Failed != "" {
			k.failed = append(k.failed, m)
		}
	}
	return nil
}

// Advice says what to do about the machines that are kept, "" if there are none.
func (k *Keeper) Advice() string {
	if len(k.failed) == 0 {
		return ""
	}
	return advice(k.failed, k.Record.ID)
}

func advice(failed []node.Started, id string) string {
	m := failed[0]
	return fmt.Sprintf("\n  %d of the machines are kept as they failed: see 'ore console %s %s', look around with 'ore shell %s --rank %d',\n"+
		"  have them go on with 'ore retry %s', end all with 'ore down %s'", len(failed), id, m.Name, id, m.Rank, id, id)
}

// choose returns the machine that is meant.
func (m Machines) choose(ctx context.Context, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	all, err := m.Machines(ctx)
	if err != nil {
		return "", err
	}
	for _, s := range all {
		if s.Failed != "" {
			return s.Name, nil
		}
	}
	return cluster.MachineName(0), nil
}

// Retry returns the command that has machines go on with their installation.
func Retry(s Shell) *cobra.Command {
	return &cobra.Command{
		Use:   "retry NAME",
		Short: "Have kept machines go on whose installation failed",
		Long: `Have the machines go on whose installation failed and which were kept by
--keep-failed: packages and steps that were done are not done again. What was lacking
is to be there by then: a server, the network, or what 'ore exec' sets in the machine.
A machine that fails again is kept again.

A step sees what the packages and the steps before it made, and nothing that is put
onto the disk by hand. One whose own words are wrong is mended in the job file: end
the machines with 'ore down', and start them again.`,
		Example: "  ore up --name bed --root disk -f job.yaml --keep-failed\n  ore shell bed\n  ore retry bed",
		Args:    cobra.ExactArgs(1),
		RunE: s.On(func(ctx context.Context, at *site.Site, m Machines, _ []string) error {
			watch, end := s.View()
			started, err := cluster.Again(ctx, m.Client, m.Record.Start, func(memory json.RawMessage) (cluster.Install, error) {
				return installing.Resume(at, m.Record.ID, memory, watch)
			}, watch)
			end()
			if err != nil {
				var failed *node.FailedError
				if errors.As(err, &failed) {
					return fmt.Errorf("%w%s", err, advice(failed.Machines, m.Record.ID))
				}
				return err
			}
			return s.Tell(started)
		}),
	}
}
