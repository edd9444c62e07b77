package main

import (
	"context"

	"github.com/spf13/cobra"

	"ore/cmd/ore/slurm"
	"ore/site"
)

func newSlurm(a *app) *cobra.Command {
	return slurm.Command(&slurm.Shell{
		Out: a.io.out, Err: a.io.err,
		Open: func(ctx context.Context) (*site.Site, error) { return a.open(ctx, nil) },
	})
}
