package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore/cmd/ore/fleet"
	"ore/cmd/ore/view"
)

func newHosts(a *app) *cobra.Command { return fleet.Command(a.fleet()) }

func newNode(a *app) *cobra.Command { return fleet.Node(a.fleet()) }

// fleet is what the commands of hosts elsewhere share.
func (a *app) fleet() *fleet.Shell {
	return &fleet.Shell{
		In: a.io.in, Out: a.io.out, Err: a.io.err, JSON: &a.json,
		Usage:   func(err error) error { return usageError{err} },
		Rows:    func(header ...any) table.Writer { return view.Rows(a.io.out, header...) },
		Version: func() string { return version },
	}
}
