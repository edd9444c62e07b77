package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/flags"
	"ore/job"
	"ore/site"
	"ore/site/installing"
)

// onJob is a command that does something with a job: what may be wrong with the
// job is said before the site is opened, so that it costs nothing.
type onJob struct {
	flags *flags.Job
	check func(ore.Job) error // what only this command looks at; its errors are the user's
	do    func(ctx context.Context, s *site.Site, j ore.Job) error
}

func (a *app) onJob(o onJob) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		j, err := o.flags.Read(args, a.io.in)
		if err != nil {
			return usageError{err}
		}
		installing.Complete(&j)
		if err := cmp.Or(o.check(j), installing.Check(j.Machines)); err != nil {
			return usageError{err}
		}
		s, err := a.open(c.Context(), o.flags.Pinned)
		if err != nil {
			return err
		}
		defer s.Close()
		return o.do(c.Context(), s, j)
	}
}

// noCommand checks a job that is not to be run.
func noCommand(j ore.Job) error { return job.Check(j, false) }
