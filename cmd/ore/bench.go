package main

import (
	"context"

	"github.com/spf13/cobra"

	"ore/cmd/ore/figures"
	"ore/site"
)

// newBench is the command bench, over this host's site.
func newBench(a *app) *cobra.Command {
	return figures.Command(&figures.Shell{
		In: a.io.in, Out: a.io.out, Err: a.io.err, Mirror: &a.mirror,
		Usage: func(err error) error { return usageError{err} },
		Open:  func(ctx context.Context) (*site.Site, error) { return a.open(ctx, nil) },
	})
}
