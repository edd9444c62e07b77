package main

import (
	"github.com/spf13/cobra"

	"ore/cmd/ore/testbed"
)

func newTestbed(a *app) *cobra.Command {
	return testbed.Command(&testbed.Shell{Out: a.io.out, JSON: &a.json, Usage: func(err error) error { return usageError{err} }})
}
