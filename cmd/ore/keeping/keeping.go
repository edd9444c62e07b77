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
	"strings"

	"github.com/spf13/cobra"

	"ore"
	"ore/cluster"
	"ore/cmd/ore/flags"
	"ore/job"
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
	In    io.Reader // a job file called -
	Out   io.Writer
	Usage func(error) error // marks a fault in the words of the command line
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
	var asked flags.Job
	var j *ore.Job // what to go on with, nil for what was asked for first
	c := &cobra.Command{
		Use:   "retry NAME [-f FILE]",
		Short: "Have kept machines go on whose installation failed",
		Long: `Have the machines go on whose installation failed and which were kept by
--keep-failed: packages and steps that were done are not done again. What was lacking
is to be there by then: a server, the network, or what 'ore exec' sets in the machine.
A machine that fails again is kept again.

A step sees what the packages and the steps before it made, and nothing that is put
onto the disk by hand. One whose own words are wrong is mended in the job file, which
is then given with -f, with the flags that said before what the environment is: steps
that differ from what was done, and those that need them, run; the others are not run
again. Files and steps can differ; if something else does that is on the disks, nothing
happens but that it is named. Machines that are ready stay as they are.`,
		Example: "  ore up --name bed --root disk -f job.yaml --keep-failed\n  ore shell bed\n  ore retry bed\n  ore retry bed -f job.yaml",
		Args:    cobra.ExactArgs(1),
	}
	retry := s.On(func(ctx context.Context, at *site.Site, m Machines, _ []string) error {
		watch, end := s.View()
		err := mend(at, m.Record, j, watch)
		var started []node.Started
		if err == nil {
			started, err = cluster.Again(ctx, m.Client, m.Record.Start, func(memory json.RawMessage) (cluster.Install, error) {
				return installing.Resume(at, m.Record.ID, memory, watch)
			}, watch)
		}
		end()
		if err != nil {
			var failed *node.FailedError
			if errors.As(err, &failed) {
				return fmt.Errorf("%w%s", err, advice(failed.Machines, m.Record.ID))
			}
			return err
		}
		return s.Tell(started)
	})
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if j, err = given(c, &asked, s.In); err != nil {
			return s.Usage(err)
		}
		return retry(c, args)
	}
	asked.Environment(c)
	return c
}

// given returns what the flags say is to be gone on with, nil if they say nothing.
func given(c *cobra.Command, asked *flags.Job, in io.Reader) (*ore.Job, error) {
	if !c.Flags().Changed("file") {
		for _, name := range []string{"package", "base", "kernel", "name"} {
			if c.Flags().Changed(name) {
				return nil, fmt.Errorf("--%s: is for a job file that was mended: give it with -f", name)
			}
		}
		return nil, nil
	}
	j, err := asked.Read(nil, in)
	if err == nil {
		err = job.Check(j, false)
	}
	return &j, err
}

// mend has machines go on by a job that was mended, nil for the one that they had.
func mend(at *site.Site, r ledger.Record, j *ore.Job, watch ore.Watcher) error {
	if j == nil {
		return nil
	}
	var kept struct{ Memory json.RawMessage } // of what cluster.Again reads
	if err := json.Unmarshal(r.Start, &kept); err != nil || len(kept.Memory) == 0 {
		return errors.Join(fmt.Errorf("retry: %s is no job whose machines install themselves", r.ID), err)
	}
	steps, err := installing.Mend(at, r.ID, kept.Memory, *j)
	if err != nil {
		return fmt.Errorf("retry: %w", err)
	}
	text := "no step differs from what was tried last"
	if len(steps) > 0 {
		text = "steps that differ: " + strings.Join(steps, ", ") + "; those before them are not run again"
	}
	watch.Tell(ore.Event{Stage: "note", Text: text})
	return nil
}
