package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/flags"
	"ore/cmd/ore/fleet"
	"ore/plan"
	"ore/site"
	"ore/site/installing"
	"ore/site/ledger"
)

func newPlan(a *app) *cobra.Command {
	var asked flags.Job
	var whatIf string
	var hosts fleet.Hosts
	c := &cobra.Command{
		Use:   "plan [flags]",
		Short: "Say what a job would do, without doing it",
		Long: `Say by which way a job would get its image and its machines, how long each stage
is predicted to take by what this site has shown, and why the other ways lost.

--what-if changes what is asked, what exists and the links, as in
link=500kbit,machines=64,cache=none. Its keys are ` + strings.Join(plan.WhatIfKeys(), ", ") + `.
With --engine and --host the machines are planned on these hosts, which are asked what
they are like and hold; what Slurm will give is not known, so each machine has a host.`,
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
		begun := time.Now()
		there, err := hosts.Plan(ctx, s, j, v.Watch)
		var env ore.Environment
		var p plan.Plan
		if err == nil {
			env, p, err = s.Plan(ctx, j, there, w, v.Watch)
		}
		v.Close()
		if err != nil {
			return err
		}
		if w.Machines != nil {
			j.Machines.Count = *w.Machines
		}
		refused := installing.Fits(j.Machines, env, "")
		if id, err := ledger.NewID(j.Name); err == nil && refused == nil && len(there) == 0 && w.Hosts == nil {
			refused = s.CheckHost(id, j)
		}
		if a.json {
			err = a.print(p)
		} else {
			a.tellPlan(j, env, p, time.Since(begun))
		}
		if refused != nil {
			err = usageError{refused} // as 'ore run' says it
		}
		return err
	}})
	asked.Environment(c)
	asked.Machines(c)
	asked.Running(c)
	asked.Locks(c)
	hosts.Flags(c)
	return c
}
