package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/job"
	"ore/plan"
	"ore/site"
)

func newPlan(a *app) *cobra.Command {
	var flags jobFlags
	c := &cobra.Command{
		Use:     "plan [flags]",
		Short:   "Say what a job would do, without doing it",
		Example: "  ore plan -f job.yaml\n  ore plan -n 16 -p openmpi-bin",
	}
	c.RunE = a.onJob(onJob{flags: &flags, check: noCommand, do: func(ctx context.Context, s *site.Site, j ore.Job) error {
		env, p, err := s.Plan(ctx, j)
		if err != nil {
			return err
		}
		if a.json {
			return a.print(p)
		}
		a.tellPlan(j, env, p)
		return nil
	}})
	flags.environment(c)
	flags.machines(c)
	flags.running(c)
	flags.locks(c)
	return c
}

func (a *app) tellPlan(j ore.Job, env ore.Environment, p plan.Plan) {
	a.say("environment  %s, %d packages, key %s", env.Base, len(env.Packages), p.Key.Short())
	a.say("machines     %d, each with %d CPU, %s memory, %s disk (%s)", j.Machines.Count, j.Machines.CPUs,
		job.FormatSize(j.Machines.Memory), job.FormatSize(j.Machines.Disk), j.Machines.Hypervisor)
	for i, o := range p.Options {
		head := "way          " + string(o.Way)
		if i > 0 {
			head = "not          " + string(o.Way) + ": " + o.Why
		}
		a.say("%s", head)
		if o.Why != "" && len(o.Stages) == 0 {
			continue
		}
		for _, s := range o.Stages {
			if s.Work == 0 {
				continue
			}
			a.say("  %-10s %-14s %s", s.Stage, work(s), seconds(s.Time, s.Known))
		}
		if n := len(o.Install); n > 0 && i == 0 {
			a.say("  installs   %s", names(o.Install))
		}
		total, known := o.Time()
		a.say("  in all     %-14s %s", "", seconds(total, known))
	}
}

func work(s plan.Estimate) string {
	if s.Unit == "bytes" {
		return human(int64(s.Work))
	}
	return fmt.Sprintf("%.0f %s", s.Work, s.Unit)
}

func seconds(d time.Duration, known bool) string {
	if !known {
		return "not measured here before"
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// shownNames is how many names of packages a plan shows.
const shownNames = 8

func names(packages []ore.Package) string {
	var all []string
	for _, p := range packages[:min(shownNames, len(packages))] {
		all = append(all, p.Name)
	}
	s := strings.Join(all, ", ")
	if more := len(packages) - len(all); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
