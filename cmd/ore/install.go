package main

import (
	"context"

	"github.com/spf13/cobra"

	"ore"
	cli "ore/cmd/ore/installing"
	"ore/cmd/ore/installing/local"
	"ore/deb"
	"ore/job"
	"ore/site/installing"
)

// newInstall is the command install, over this host's site.
func newInstall(a *app) *cobra.Command {
	c := cli.Command(&cli.Shell{
		Out: a.io.out, Err: a.io.err, JSON: &a.json, Quiet: &a.quiet,
		Usage: func(err error) error { return usageError{err} },
		Job:   a.jobFile,
		Open:  a.installs,
	})
	c.AddCommand(newInstallImage(a))
	return c
}

// jobFile reads a job file that no flags change.
func (a *app) jobFile(path string) (ore.Job, error) {
	j := job.Default(deb.HostSuite())
	var err error
	if path == "-" {
		j, err = job.Read(a.io.in, job.Origin{Name: "standard input", Dir: "."}, j)
	} else {
		j, err = job.Load(path, j)
	}
	if err == nil {
		err = job.Check(j, false)
	}
	if err != nil {
		return j, usageError{err}
	}
	return j, nil
}

// installs opens the site for machines that boot from the network, and are on the
// list in a folder.
func (a *app) installs(ctx context.Context, list string) (*cli.Site, error) {
	s, err := a.open(ctx, nil)
	if err != nil {
		return nil, err
	}
	return local.Site(s, list, func() (ore.Watcher, func()) {
		v := a.view(ore.Job{})
		return v.Watch, v.Close
	}), nil
}

// newInstallImage shows what the installer is made of.
func newInstallImage(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "image", Short: "Make the installer, and say what it is made of", Args: cobra.NoArgs,
		Long: `Make the installer that machines boot, or find it made, and say how large it is, and
why each part is in it. 'ore run --root disk' uses the same image.`,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.open(c.Context(), nil)
			if err != nil {
				return err
			}
			defer s.Close()
			v := a.view(ore.Job{})
			img, release, err := installing.Image(c.Context(), s, v.Watch)
			v.Close()
			if err != nil {
				return err
			}
			release()
			if a.json {
				return a.print(img)
			}
			for _, n := range installing.Needs() {
				a.say("needs   %-12s %s", n.Package, n.Why)
			}
			return a.tellImage(img, 0)
		},
	}
}
