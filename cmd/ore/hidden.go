package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"ore/install"
	"ore/rpm"
	"ore/site"
	"ore/site/afterwards"
	"ore/site/supervisor"
)

// newSupervise is what a job's supervisor runs; see package node.
func newSupervise(*app) *cobra.Command {
	var keep bool
	c := &cobra.Command{
		Use: supervisor.Command + " IMAGES DIR", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if keep {
				return supervisor.Keep(c.Context(), args[0], args[1])
			}
			return supervisor.Serve(c.Context(), args[0], args[1])
		},
	}
	c.Flags().BoolVar(&keep, "keep", false, "start the supervisor and stay until it ends")
	return c
}

// newInstallWorker is what works inside a build's sandbox; see package install.
func newInstallWorker(a *app) *cobra.Command {
	return &cobra.Command{
		Use: site.InstallCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return install.Worker(c.Context(), a.io.in, a.io.out)
		},
	}
}

// newRPMWorker is what works inside the sandbox of package rpm.
func newRPMWorker(a *app) *cobra.Command {
	return &cobra.Command{
		Use: site.RPMCommand, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return rpm.Worker(c.Context(), a.io.in, a.io.out)
		},
	}
}

// newAfterwards is what was put off until the host is idle; see package afterwards.
func newAfterwards(a *app) *cobra.Command {
	return &cobra.Command{
		Use: afterwards.Command, Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			afterwards.Yield()
			s, err := a.open(c.Context(), nil)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			if err := os.Chdir("/"); err != nil { // what it was started in may be unmounted meanwhile
				return err
			}
			_, err = s.Afterwards(c.Context())
			return err
		},
	}
}

// newMan writes the man pages of all commands.
func newMan(*app) *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the man pages into a folder", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			root := c.Root()
			root.DisableAutoGenTag = true
			return doc.GenManTree(root, &doc.GenManHeader{Title: "ORE", Section: "1", Source: "ore"}, args[0])
		},
	}
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionOf()
			if a.json {
				return a.print(v)
			}
			a.say("ore %s (%s)", v["version"], v["go"])
			return nil
		},
	}
}

// version is set by the Makefile from git, whatever the compiler knows of that.
var version = "unreleased"

func versionOf() map[string]string {
	return map[string]string{"version": version, "go": runtime.Version()}
}
