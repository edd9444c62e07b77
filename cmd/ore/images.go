package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/imaging"
	"ore/cmd/ore/view"
	"ore/image"
	"ore/site"
)

func newImages(a *app) *cobra.Command {
	return imaging.Command(&imaging.Shell{
		Out: a.io.out, Err: a.io.err, JSON: &a.json,
		Open:     func(ctx context.Context) (*site.Site, error) { return a.open(ctx, nil) },
		View:     func() *view.View { return a.view(ore.Job{}) },
		Tell:     func(m image.Manifest) error { return a.tellImage(m, 0) },
		Usage:    func(err error) error { return usageError{err} },
		Exit:     func(code int) error { return exitCode(code) },
		Complete: a.completeImages,
	})
}

// withSite opens the site for one command.
func (a *app) withSite(f func(ctx context.Context, s *site.Site, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := a.open(c.Context(), nil)
		if err != nil {
			return err
		}
		defer s.Close()
		return f(c.Context(), s, args)
	}
}

// completeImages offers the keys of images.
func (a *app) completeImages(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := a.open(c.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer s.Close()
	all, err := s.Cache.List(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var keys []string
	for _, e := range all {
		keys = append(keys, e.Key.Short()+"\t"+strings.Join(e.Wanted, " "))
	}
	return keys, cobra.ShellCompDirectiveNoFileComp
}
