package main

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"ore/cmd/ore/view"
	"ore/plan"
	"ore/site"
)

func newDoctor(a *app) *cobra.Command {
	var calibrate bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can do, proved by trying",
		Long: `Try everything that jobs need on this host: state folders, the mirror and its
signature, namespaces, the ways to build environments, and each hypervisor by
booting something with it. What does not work is told with what to do about it.

--calibrate measures for some three seconds what this host and its link to the
mirror can do, and for one more what that to each cache can, so that the first
plan is not a guess.`,
		Args: cobra.NoArgs,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, _ []string) error {
			if calibrate {
				return a.calibrate(ctx, s)
			}
			findings, err := s.Doctor(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.print(findings)
			}
			failed := false
			for _, f := range findings {
				mark := "ok  "
				switch {
				case !f.Works && f.Needed:
					mark, failed = "FAIL", true
				case !f.Works:
					mark = "no  "
				}
				a.say("%s  %-34s %s", mark, f.Name, f.What)
				if f.Fix != "" {
					a.say("      to do: %s", f.Fix)
				}
			}
			if failed {
				return exitCode(1)
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&calibrate, "calibrate", false, "measure what this host and its links can do, for the plan; nothing else is tried")
	return c
}

// calibrate measures this host and says what was found.
func (a *app) calibrate(ctx context.Context, s *site.Site) error {
	c, err := s.Calibrate(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(c)
	}
	a.say("cores      %d", c.Cores)
	a.say("decode     %s of packages a second on a core", view.Bytes(int64(c.Decode)))
	a.say("compress   %s a second on a core", view.Bytes(int64(c.Compress)))
	a.say("hash       %s a second on a core", view.Bytes(int64(c.Hash)))
	a.say("create     %.0f files a second", c.Create)
	a.say("program    %.1f ms to start and end", c.Process*1e3)
	for _, name := range slices.Sorted(maps.Keys(c.Links)) {
		a.say("%-10s %s a second, %.1f ms a request", name, view.Bytes(int64(c.Links[name].Rate)), c.Links[name].Request*1e3)
	}
	if _, tried := c.Links[plan.Mirror]; !tried {
		a.say("mirror     not tried: all packages of the base are here")
	}
	return nil
}
