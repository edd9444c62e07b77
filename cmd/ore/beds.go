package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"ore"
	"ore/cluster"
	"ore/cmd/ore/elsewhere"
	"ore/cmd/ore/flags"
	"ore/cmd/ore/keeping"
	"ore/cmd/ore/view"
	"ore/guest"
	"ore/install/recipe"
	"ore/job"
	"ore/node"
	"ore/site"
	"ore/site/installing"
	"ore/site/ledger"
	"ore/site/supervisor"
)

func newUp(a *app) *cobra.Command {
	var asked flags.Job
	var kept elsewhere.Bed
	c := &cobra.Command{
		Use:   "up [flags]",
		Short: "Start machines and keep them, as a test bed",
		Long: `Start machines with an environment and keep them until 'ore down'. Commands are
run on them with 'ore exec' and 'ore shell', files copied with 'ore cp', and
further machines added with 'ore grow'.

With --engine hosts or slurm they run on other hosts. A process that stays on this
host keeps them, and with Slurm their allocation: if it is killed, all of it ends.
When Slurm ends the allocation, 'ore exec' and 'ore jobs show' say why.`,
		Example: "  ore up --name bed -n 3 -p postgresql --publish 5432:5432\n  ore exec bed -- hostname\n  ore down bed",
		Args:    cobra.NoArgs,
	}
	c.RunE = a.onJob(onJob{flags: &asked, check: noCommand, do: func(ctx context.Context, s *site.Site, j ore.Job) error {
		if here, err := kept.Hosts.Local(); err != nil {
			return usageError{err}
		} else if !here {
			kept.Piped = asked.Piped()
			return a.upElsewhere(ctx, s, j, kept)
		}
		return a.up(ctx, s, j, asked.Root)
	}})
	asked.Environment(c)
	asked.Machines(c)
	asked.Locks(c)
	kept.Flags(c, version)
	c.Flags().StringArrayVarP(&asked.Inputs, "input", "i", nil, "`file` or folder put into /job of every machine; repeat")
	return c
}

func (a *app) up(ctx context.Context, s *site.Site, j ore.Job, root flags.Root) error {
	id := bedName(j)
	if err := s.CheckHost(id, j); err != nil {
		return usageError{err}
	}
	if err := site.CheckPorts(j); err != nil {
		return err
	}
	if err := supervisor.Vacant(ctx, s.Book, id); errors.Is(err, supervisor.ErrTaken) {
		return runAlready(id)
	} else if err != nil {
		return err
	}
	own, err := a.own(j)
	if err != nil {
		return err
	}
	v := a.view(j)
	config := s.KeptConfig(id, v.Watch)
	config.Own = own
	installing.Maker{Site: s, ID: id, Job: j, From: recipe.Strategy(root.From), Discard: !root.Capture, Watch: v.Watch}.Use(&config)
	r := ledger.Record{ID: id, Name: id, Command: []string{"(kept machines)"}, Begun: time.Now(), Machines: j.Machines.Count, Kept: true}
	keeper := keeping.Keeper{Book: s.Book, Record: &r}
	if root.Keep {
		config.Kept = keeper.Keep
	}
	bed, err := cluster.Up(ctx, config, j)
	v.Close()
	if errors.Is(err, supervisor.ErrTaken) {
		return runAlready(id) // somebody else has begun meanwhile
	}
	if err != nil {
		return fmt.Errorf("%w%s", err, keeper.Advice())
	}
	if r.Start, err = bed.Encode(); err == nil {
		err = s.Keep(r)
	}
	if err == nil {
		err = bed.HandOver()
	}
	if err != nil {
		return errors.Join(err, bed.Release(context.WithoutCancel(ctx)))
	}
	return a.tellBed(id, bed.Machines, bed.Published)
}

// bedName is what kept machines are called.
func bedName(j ore.Job) string {
	if j.Name == job.DefaultName {
		return "bed"
	}
	return j.Name
}

// upElsewhere starts machines on other hosts.
func (a *app) upElsewhere(ctx context.Context, s *site.Site, j ore.Job, b elsewhere.Bed) error {
	id := bedName(j)
	up, err := b.Up(ctx, s, j, id, elsewhere.Shell{Out: a.io.out, Own: a.own, View: func(j ore.Job) (ore.Watcher, func()) {
		v := a.view(j)
		return v.Watch, v.Close
	}})
	switch {
	case errors.Is(err, elsewhere.ErrUsage):
		return usageError{err}
	case errors.Is(err, supervisor.ErrTaken):
		return runAlready(id)
	case err != nil || b.Keeper():
		return err
	}
	return a.tellBed(id, up.Machines, up.Published)
}

// tellBed tells of machines that have been started and are kept.
func (a *app) tellBed(id string, machines []node.Started, ports []ore.Port) error {
	if a.json {
		return a.print(machines)
	}
	a.tellMachines(machines)
	for _, p := range ports {
		a.say("port     %s -> %s:%d", p.Listen, cluster.MachineName(p.Rank), p.Port)
	}
	a.say("use      ore exec %s -- COMMAND, ore shell %s, ore down %s", id, id, id)
	return nil
}

func runAlready(id string) error {
	return fmt.Errorf("up: machines called %s run already: end them with 'ore down %s', or give another --name", id, id)
}

func (a *app) tellMachines(all []node.Started) {
	for _, m := range all {
		a.say("machine  %-4s %-12s booted in %s", m.Name, m.IP, m.Boot.Round(time.Millisecond))
	}
}

// keeping is what commands for machines whose installation failed need.
func (a *app) keeping() keeping.Shell {
	return keeping.Shell{
		In: a.io.in, Out: a.io.out, Usage: func(err error) error { return usageError{err} }, Tell: func(all []node.Started) error { a.tellMachines(all); return nil },
		On: func(f func(context.Context, *site.Site, keeping.Machines, []string) error) func(*cobra.Command, []string) error {
			return a.onBed(func(ctx context.Context, s *site.Site, b bed, args []string) error {
				return f(ctx, s, keeping.Machines{Client: b.Client, Record: b.record}, args)
			})
		},
		View: func() (ore.Watcher, func()) {
			v := a.view(ore.Job{})
			return v.Watch, v.Close
		},
	}
}

// bed is what a command on kept machines works with.
type bed struct {
	*node.Client
	record ledger.Record
}

// onBed opens kept machines for one command.
func (a *app) onBed(f func(ctx context.Context, s *site.Site, b bed, args []string) error) func(*cobra.Command, []string) error {
	return a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
		r, err := s.Bed(args[0])
		if err != nil {
			return err
		}
		n, err := s.Attach(r)
		if err != nil {
			return err
		}
		defer n.Close()
		return f(ctx, s, bed{n, r}, args[1:])
	})
}

func newExec(a *app) *cobra.Command {
	var ranks, user, dir string
	var env []string
	c := &cobra.Command{
		Use:   "exec NAME [flags] -- command [argument...]",
		Short: "Run a command on kept machines",
		Long: `Run a command on all kept machines, or on those of --rank. Standard input goes to
the command if it runs on one machine. The exit code is the largest of all.`,
		Example:           "  ore exec bed -- uptime\n  ore exec bed --rank 0 -- psql <query.sql",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeJobs,
		RunE: a.onBed(func(ctx context.Context, s *site.Site, b bed, args []string) error {
			machines, err := b.choose(ctx, ranks)
			if err != nil {
				return err
			}
			return a.exec(ctx, b, machines, guest.Command{Args: args, User: user, Dir: dir, Env: env})
		}),
	}
	f := c.Flags()
	f.SetInterspersed(true)
	f.StringVar(&ranks, "rank", "", "`ranks` such as 0 or 0,2-4; default: all")
	f.StringVarP(&user, "user", "u", "", "`user` in the machine; default root")
	f.StringVar(&dir, "dir", "", "working `folder` in the machine; default /job")
	f.StringArrayVarP(&env, "env", "e", nil, "variable for the command, `NAME=value`; repeat")
	return c
}

// exec runs c on machines beside each other.
func (a *app) exec(ctx context.Context, b bed, machines []string, c guest.Command) error {
	v := view.New(view.Config{Out: a.io.out, Err: a.io.err, Quiet: true, Machines: len(machines)})
	if len(machines) == 1 {
		in, end, err := a.input()
		if err != nil {
			return err
		}
		defer end()
		c.Stdin = in
	}
	var mu sync.Mutex
	worst := 0
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range machines {
		g.Go(func() error {
			out := v.Output(cluster.Part{Rank: rankOf(m)})
			one := c
			one.Stdout, one.Stderr = out.Stdout, out.Stderr
			exit, err := b.Exec(ctx, m, one)
			err = b.again(err)
			mu.Lock()
			defer mu.Unlock()
			worst = max(worst, exit.Code)
			return err
		})
	}
	err := g.Wait()
	v.Close()
	if err == nil && worst != 0 {
		return exitCode(worst)
	}
	return err
}

// again says what to do about a machine that was lost.
func (b bed) again(err error) error {
	var lost *node.LostError
	if !errors.As(err, &lost) {
		return err
	}
	return fmt.Errorf("%w: 'ore grow %s -n %d' starts it again", err, b.record.ID, b.record.Machines)
}

func rankOf(machine string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(machine, "m"))
	if err != nil {
		return -1
	}
	return n
}

// choose turns ranks into machines that run.
func (b bed) choose(ctx context.Context, ranks string) ([]string, error) {
	all, err := b.Machines(ctx)
	if err != nil {
		return nil, err
	}
	wanted, err := flags.Ranks(ranks)
	if err != nil {
		return nil, usageError{err}
	}
	var names []string
	for _, m := range all {
		if wanted == nil || slices.Contains(wanted, m.Rank) {
			names = append(names, m.Name)
		}
	}
	if len(names) == 0 || wanted != nil && len(names) < len(wanted) {
		return nil, fmt.Errorf("machines of %s: not all of rank %s are there: see 'ore jobs show %s'", b.record.ID, ranks, b.record.ID)
	}
	return names, nil
}

func newGrow(a *app) *cobra.Command {
	var count int
	c := &cobra.Command{
		Use: "grow NAME -n NUMBER", Short: "Add machines to kept ones, up to a number, and start lost ones again", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: a.onBed(func(ctx context.Context, s *site.Site, b bed, _ []string) error {
			if count < 1 || count > job.MaxMachines {
				return usageError{fmt.Errorf("-n %d: use 1 to %d", count, job.MaxMachines)}
			}
			v := a.view(ore.Job{})
			started, err := cluster.Grow(ctx, b.Client, b.record.Start, count, v.Watch)
			v.Close()
			if err != nil {
				return err
			}
			all, err := b.Machines(ctx)
			if err != nil {
				return err
			}
			b.record.Machines = len(all) // of two who grow at once, the second to end knows of both
			if err := s.Keep(b.record); err != nil {
				return err
			}
			if a.json {
				return a.print(started)
			}
			a.tellMachines(started)
			return nil
		}),
	}
	c.Flags().IntVarP(&count, "machines", "n", 0, "`number` of machines there are to be")
	return c
}

func newDown(a *app) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "down NAME...", Short: "End kept machines and remove every trace of them", ValidArgsFunction: a.completeJobs,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			if all {
				every, err := s.Jobs()
				if err != nil {
					return err
				}
				for _, r := range every {
					if r.Kept && s.State(r) == ledger.Running {
						args = append(args, r.ID)
					}
				}
			}
			for _, name := range args {
				r, err := s.Bed(name)
				if err != nil {
					return err
				}
				if err := s.Down(ctx, r); err != nil {
					return err
				}
				a.say("ended %s", r.ID)
			}
			if len(args) == 0 && !all {
				return usageError{errors.New("down: no machines named: name some, or use --all")}
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "all machines that are kept")
	return c
}

// isTerminal says whether the command talks to a person.
func isTerminal(f any) (*os.File, bool) {
	file, ok := f.(*os.File)
	if !ok {
		return nil, false
	}
	return file, term.IsTerminal(int(file.Fd())) // /dev/null is a character device too
}
