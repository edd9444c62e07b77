// Package slurm is the command slurm, by which Slurm turns nodes on and off that
// are machines of ore: its ResumeProgram and SuspendProgram (slurm.conf(5), and
// SchedMD's Power Saving Guide).
//
// Such nodes are written into slurm.conf by their sizes, with State=CLOUD; each
// has a Port of its own, at which slurmd in the machine is reached by NodeAddr, an
// address of the host where the machines run:
//
//	PrivateData=cloud                           # else nobody sees nodes that are off
//	NodeName=vm[1-4] NodeAddr=10.0.0.5 Port=[17001-17004] CPUs=1 RealMemory=512 State=CLOUD Feature=blast
//	ResumeProgram=/usr/local/sbin/ore-resume    # exec ore slurm resume "$1"
//	SuspendProgram=/usr/local/sbin/ore-suspend  # exec ore slurm suspend "$1"
//
// # Which image
//
// A node is built with what the job that waits for it asks for: by its comment,
// "ore packages=ncbi-blast+,hmmer base=debian/bookworm", or by a feature of its
// constraint after which a job file in the folder of environments is named,
// blast.yaml; else by default.yaml there, else with nothing but Slurm itself. Of a
// comment only names of packages and of a suite are taken, since any user writes
// it: what else an image may have is the operator's, in the files.
package slurm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"ore/site"
)

// Shell is what commands share.
type Shell struct {
	Out, Err io.Writer
	Open     func(ctx context.Context) (*site.Site, error) // opens this host's site
}

// defaultEnvironments is where an operator puts job files for features.
const defaultEnvironments = "/etc/ore/slurm"

// defaultKey is where munge keeps its key (mungekey(8)).
const defaultKey = "/etc/munge/munge.key"

// atOnce is how many machines are turned on at the same time: their boots share
// this host's CPUs.
const atOnce = 4

// Command returns the command slurm with its subcommands.
func Command(a *Shell) *cobra.Command {
	c := &cobra.Command{
		Use: "slurm", Short: "Be Slurm's ResumeProgram and SuspendProgram: its nodes are machines of ore", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newResume(a), newSuspend(a))
	return c
}

func newResume(a *Shell) *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "resume HOSTLIST", Short: "Turn nodes on, each with the image that its job asks for", Args: cobra.ExactArgs(1),
		Long: `Start a machine for each node of the list, with the image that the job asks for which
waits for it, and slurmd in it. The job says so by its comment,

  sbatch --comment='ore packages=ncbi-blast+,hmmer' ...

or by a feature of its constraint, for which a job file NAME.yaml is in the folder of
--environments. A node that cannot be turned on is set down, with the reason, and
Slurm puts its job back into the queue.

Nodes are of State=CLOUD, each with a Port of its own, and with NodeAddr an address of
this host; slurmctld may run on it too. PrivateData=cloud lets nodes know each other
that are not on at the same time.`,
		Example: "  ore slurm resume vm[1-4]",
		RunE:    func(c *cobra.Command, args []string) error { return a.resume(c.Context(), args[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.environments, "environments", defaultEnvironments, "`folder` with job files, by names of features")
	f.StringVar(&o.key, "munge-key", defaultKey, "`file` with the cluster's munge key")
	return c
}

// options is what resume takes.
type options struct {
	environments, key string
}

func newSuspend(a *Shell) *cobra.Command {
	return &cobra.Command{
		Use: "suspend HOSTLIST", Short: "Turn nodes off, and remove every trace of their machines", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			names, err := hostnames(c.Context(), args[0])
			if err != nil {
				return err
			}
			s, err := a.Open(c.Context())
			if err != nil {
				return err
			}
			defer s.Close()
			var errs []error
			for _, n := range names {
				errs = append(errs, off(c.Context(), s, n))
			}
			return errors.Join(errs...)
		},
	}
}

// resume turns nodes on. Those that cannot be are set down.
func (a *Shell) resume(ctx context.Context, list string, o options) error {
	names, err := hostnames(ctx, list)
	if err != nil {
		return err
	}
	wanted, err := a.plan(ctx, names, o)
	if err != nil {
		return errors.Join(err, refuse(ctx, list, err))
	}
	s, err := a.Open(ctx)
	if err != nil {
		return errors.Join(err, refuse(ctx, list, err))
	}
	defer s.Close()
	errs := make([]error, len(wanted))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, w := range wanted {
		g.Go(func() error {
			if err := w.on(ctx, s); err != nil {
				errs[i] = errors.Join(fmt.Errorf("node %s: %w", w.node.name, err), refuse(ctx, w.node.name, err))
			}
			return nil
		})
	}
	_ = g.Wait() // each node's error is its own
	return errors.Join(errs...)
}
