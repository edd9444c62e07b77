package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/flags"
	"ore/plan"
	"ore/site"
)

func newPlan(a *app) *cobra.Command {
	var asked flags.Job
	var whatIf string
	c := &cobra.Command{
		Use:   "plan [flags]",
		Short: "Say what a job would do, without doing it",
		Long: `Say by which way a job would get its image and its machines, how long each stage
is predicted to take by what this site has shown, and why the other ways lost.

--what-if changes what is asked, what exists and the links, as in
link=500kbit,machines=64,cache=none. Its keys are ` + strings.Join(plan.WhatIfKeys(), ", ") + `.`,
		Example: "  ore plan -f job.yaml\n  ore plan -n 16 -p openmpi-bin\n  ore plan -p ncbi-blast+ --what-if link=500kbit,machines=64\n  ore plan accuracy",
	}
	c.Flags().StringVar(&whatIf, "what-if", "", "plan as if `KEY=VALUE,...` were so")
	c.AddCommand(newAccuracy(a))
	c.RunE = a.onJob(onJob{flags: &asked, check: noCommand, do: func(ctx context.Context, s *site.Site, j ore.Job) error {
		var w plan.WhatIf
		if whatIf != "" {
			var err error
			if w, err = plan.ParseWhatIf(whatIf); err != nil {
				return usageError{err}
			}
		}
		v := a.view(ore.Job{}) // no machines: there are only notes
		env, p, err := s.Plan(ctx, j, w, v.Watch)
		v.Close()
		if err != nil {
			return err
		}
		if a.json {
			return a.print(p)
		}
		if w.Machines != nil {
			j.Machines.Count = *w.Machines
		}
		a.tellPlan(j, env, p)
		return nil
	}})
	asked.Environment(c)
	asked.Machines(c)
	asked.Running(c)
	asked.Locks(c)
	return c
}
