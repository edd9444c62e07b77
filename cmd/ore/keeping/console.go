package keeping

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ore/node"
	"ore/site"
	"ore/site/ledger"
)

// followEvery is how often a console that is followed is looked at: people do not
// see that it is not at once, and a machine that says nothing costs next to nothing.
const followEvery = 200 * time.Millisecond

// Console returns the command that shows a machine's console.
func Console(s Shell) *cobra.Command {
	follow := false
	c := &cobra.Command{
		Use:   "console NAME [MACHINE]",
		Short: "Show what a kept machine's console said",
		Long: `Show what the kernel and the first programs of a kept machine wrote to its console,
and what its installer said if it installs itself; of one that said very much, the
beginning and the end. Without MACHINE (m0, m1, ...) it is one whose installation
failed, else m0. With --follow, show what comes, too, until the machines end. To talk
to the machine, use 'ore shell'.`,
		Example: "  ore console bed m1\n  ore console bed --follow",
		Args:    cobra.RangeArgs(1, 2),
		RunE: s.On(func(ctx context.Context, at *site.Site, m Machines, args []string) error {
			name, err := m.choose(ctx, args)
			if err != nil {
				return err
			}
			f := follower{said: m.Said, machine: name, out: s.Out}
			if err := f.show(ctx); err != nil || !follow {
				return err
			}
			every := time.NewTicker(followEvery)
			defer every.Stop()
			return f.follow(ctx, every.C, func() bool { return at.State(m.Record) == ledger.Running })
		}),
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing what comes")
	return c
}

// follower shows a console, part by part.
type follower struct {
	said    func(ctx context.Context, machine string, from int64) (node.Said, error)
	machine string
	out     io.Writer
	next    int64
}

// show shows what came since it was called last.
func (f *follower) show(ctx context.Context) error {
	s, err := f.said(ctx, f.machine, f.next)
	if err != nil {
		return err
	}
	f.next = s.Next
	if _, err := f.out.Write(s.Text); err != nil {
		return fmt.Errorf("show the console of %s: %w", f.machine, err)
	}
	return nil
}

// follow shows what comes, at each tick, while the machines run.
func (f *follower) follow(ctx context.Context, tick <-chan time.Time, running func() bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick:
		}
		if err := f.show(ctx); err != nil {
			if ctx.Err() == nil && !running() {
				return nil // all that there was has been shown
			}
			return err
		}
	}
}
