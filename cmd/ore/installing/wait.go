package installing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ore/netboot"
	"ore/netboot/link"
	"ore/netboot/roster"
)

// lookEvery is how often the list is looked at: nobody sees a machine come any
// sooner, and a look is one stat(2).
const lookEvery = 200 * time.Millisecond

// waiting is how machines are waited for.
type waiting struct {
	dir     string
	timeout time.Duration // 0: for ever
	all     bool          // for all that are assigned: of what was installed before, nothing is told
}

func newWait(a *Shell) *cobra.Command {
	var at place
	var w waiting
	c := &cobra.Command{
		Use: "wait [CARD|NAME]...", Short: "Wait until machines are installed",
		Long: `Wait until machines are what they should be: until the job's first process on the
installed disk has said so. Without a word these are all machines on the list that
were ever assigned, with those that are installed or have failed since long ago; it is
an error if there are none.
It ends as soon as all are installed or failed, and with an error if one has failed.
One that failed before does so each time: 'ore install assign' installs it again, and
'ore install forget' takes it off the list.`,
		RunE: func(c *cobra.Command, args []string) error {
			r, dir, err := at.roster(roster.Look)
			if err != nil {
				return err
			}
			var list []roster.Machine
			if len(args) > 0 {
				list, err = known(r, args)
			} else {
				list, err = awaited(r, dir)
				w.all = true
			}
			if err != nil {
				return err
			}
			w.dir = dir
			return a.wait(c.Context(), r, w, list)
		},
	}
	c.ValidArgsFunction = at.completeMachines
	at.flags(c)
	c.Flags().DurationVar(&w.timeout, "timeout", 0, "wait no longer than this, such as 30m; default: for ever")
	return c
}

// awaited are the machines that are to become something, or have. That there are none
// is an error: who waits would take it for success.
func awaited(r *roster.Roster, dir string) ([]roster.Machine, error) {
	all, err := r.All()
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(all, func(m roster.Machine) bool { return m.State == roster.Waiting })
	if len(list) == 0 {
		return nil, fmt.Errorf("wait: no machine is assigned on the list in %s: assign some with 'ore install assign', or give the server's folder with --dir", dir)
	}
	return list, nil
}

// errTimeout is the end of a patience.
var errTimeout = errors.New("the time is over")

// wait waits for machines, tells of their stages, and gives the result.
func (a *Shell) wait(ctx context.Context, r *roster.Roster, w waiting, list []roster.Machine) error {
	for _, m := range list {
		if m.State == roster.Waiting {
			return fmt.Errorf("wait for %s: it is to become nothing: say what with 'ore install assign'", called(m))
		}
	}
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.timeout, errTimeout)
		defer cancel()
	}
	f := follow{shell: a, roster: r, dir: w.dir, told: map[link.MAC]string{}}
	for _, m := range list {
		if w.all && m.State == roster.Installed {
			f.told[m.MAC] = where(m)
		}
	}
	list, err := f.all(ctx, list)
	if err != nil {
		return err
	}
	if *a.JSON {
		if err := a.print(rows(list)); err != nil {
			return err
		}
	}
	return verdict(list)
}

// verdict is an error if a machine has failed.
func verdict(list []roster.Machine) error {
	var failed []roster.Machine
	for _, m := range list {
		if m.State == roster.Failed {
			failed = append(failed, m)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	text := fmt.Sprintf("%d of %d machines failed:", len(failed), len(list))
	for _, m := range failed {
		text += fmt.Sprintf("\n  %s (%s): %s", called(m), m.MAC, m.Reason)
	}
	return errors.New(text + "\nlook at the console of each, then 'ore install assign' it again, or take it off the list with 'ore install forget'")
}

// follow looks at machines until they are where they should be.
type follow struct {
	shell  *Shell
	roster *roster.Roster
	dir    string
	told   map[link.MAC]string // what was told of each last
}

func (f *follow) all(ctx context.Context, list []roster.Machine) ([]roster.Machine, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		under, err := f.look(list)
		if err != nil {
			return list, err
		}
		if under == "" {
			return list, nil
		}
		serving, err := netboot.Serving(f.dir)
		if err != nil {
			return list, err
		}
		if !serving {
			return list, fmt.Errorf("wait for %s: no server answers it: run 'ore install serve'", under)
		}
		select {
		case <-ctx.Done():
			return list, fmt.Errorf("wait for %s: %w", under, context.Cause(ctx))
		case <-look.C:
		}
	}
}

// look brings the list up to date, and returns a machine that is on its way.
func (f *follow) look(list []roster.Machine) (under string, err error) {
	for i, was := range list {
		m, known, err := f.roster.Find(was.MAC)
		if err != nil {
			return "", err
		}
		if !known {
			return "", fmt.Errorf("wait for %s: somebody has taken it off the list", called(was))
		}
		list[i] = m
		f.tell(m)
		if m.State != roster.Installed && m.State != roster.Failed {
			under = called(m)
		}
	}
	return under, nil
}

// tell says where a machine is when that is another place than before.
func (f *follow) tell(m roster.Machine) {
	text := where(m)
	if f.told[m.MAC] == text {
		return
	}
	f.told[m.MAC] = text
	f.shell.note("%s: %s", called(m), text)
}

// where says where on its way a machine is. How long it took is by the server's clock
// alone: the machine's may be another by hours.
func where(m roster.Machine) string {
	text := string(m.State)
	if n := len(m.Stages); n > 0 && (m.State == roster.Installing || m.State == roster.Restarting) {
		text = m.Stages[n-1].Name
	}
	if took := m.Since.Sub(m.Began); m.State == roster.Installed && !m.Began.IsZero() && took >= 0 {
		text += fmt.Sprintf(" in %.1f s", took.Seconds())
	}
	return text
}
