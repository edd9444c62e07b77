package main

import (
	"context"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore/cmd/ore/caching"
	"ore/cmd/ore/view"
	"ore/site"
)

func newCache(a *app) *cobra.Command {
	return caching.Command(&caching.Shell{
		Out: a.io.out, JSON: &a.json,
		Open:     func(ctx context.Context) (*site.Site, error) { return a.open(ctx, nil) },
		Usage:    func(err error) error { return usageError{err} },
		Complete: a.completeImages, Rows: func(header ...any) table.Writer { return view.Rows(a.io.out, header...) },
	})
}
