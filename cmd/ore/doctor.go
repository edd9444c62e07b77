package main

import (
	"context"

	"github.com/spf13/cobra"

	"ore/site"
)

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host can do, proved by trying",
		Long: `Try everything that jobs need on this host: state folders, the mirror and its
signature, namespaces, the ways to build environments, and each hypervisor by
booting something with it. What does not work is told with what to do about it.`,
		Args: cobra.NoArgs,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, _ []string) error {
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
}
