package main

import (
	"strings"

	"github.com/spf13/cobra"

	"ore/job"
	"ore/plan"
)

func newPlan(a *app) *cobra.Command {
	var flags jobFlags
	var whatIf string
	c := &cobra.Command{
		Use:   "plan [flags]",
		Short: "Say what a job would do, without doing it",
		Long: `Say by which way a job would get its image and its machines, how long each stage
is predicted to take by what this site has shown, and why the other ways lost.

--what-if changes what is asked, what exists and the links, as in
link=500kbit,machines=64,cache=none. Its keys are ` + strings.Join(plan.WhatIfKeys(), ", ") + `.`,
		Example: "  ore plan -f job.yaml\n  ore plan -n 16 -p openmpi-bin\n  ore plan -p ncbi-blast+ --what-if link=500kbit,machines=64\n  ore plan accuracy",
		RunE: func(c *cobra.Command, args []string) error {
			j, err := flags.job(args)
			if err != nil {
				return err
			}
			if err := job.Check(j, false); err != nil {
				return usageError{err}
			}
			var w plan.WhatIf
			if whatIf != "" {
				if w, err = plan.ParseWhatIf(whatIf); err != nil {
					return usageError{err}
				}
			}
			s, err := a.open(c.Context(), flags.pinned)
			if err != nil {
				return err
			}
			defer s.Close()
			env, p, err := s.Plan(c.Context(), j, w)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(p)
			}
			a.tellPlan(j, env, p)
			return nil
		},
	}
	c.Flags().StringVar(&whatIf, "what-if", "", "plan as if `KEY=VALUE,...` were so")
	c.AddCommand(newAccuracy(a))
	flags.environment(c)
	flags.machines(c)
	flags.running(c)
	flags.locks(c)
	return c
}
