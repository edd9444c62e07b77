package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore/cmd/ore/view"
	"ore/site"
	"ore/site/ledger"
)

func newJobs(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "jobs", Short: "List jobs, show their results and output", Aliases: []string{"job"}, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newJobsList(a), newJobsShow(a), newJobsLogs(a), newJobsRemove(a))
	return c
}

// completeJobs offers the names of jobs.
func (a *app) completeJobs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	s, err := a.open(c.Context(), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer s.Close()
	all, err := s.Jobs()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID+"\t"+s.State(r))
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newJobsList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List jobs, the newest first", Aliases: []string{"list"}, Args: cobra.NoArgs,
		RunE: a.withSite(func(_ context.Context, s *site.Site, _ []string) error {
			all, err := s.Jobs()
			if err != nil {
				return err
			}
			if a.json {
				return a.print(all)
			}
			t := view.Rows(a.io.out, "job", "state", "kind", "exit", "machines", "begun", "took", "command")
			for _, r := range all {
				kind, code, took := "", "", ""
				if r.Result != nil {
					kind, code = string(r.Result.Kind), fmt.Sprint(r.Result.ExitCode)
				}
				if !r.Ended.IsZero() {
					took = r.Ended.Sub(r.Begun).Round(10 * time.Millisecond).String()
				}
				t.AppendRow(table.Row{r.ID, s.State(r), kind, code, r.Machines, view.Ago(r.Begun), took, view.Cut(strings.Join(r.Command, " "), 40)})
			}
			t.Render()
			return nil
		}),
	}
}

func newJobsShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show JOB", Short: "Show a job's machines, result and timeline", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			r, err := s.Job(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.print(r)
			}
			a.say("job      %s (%s)", r.ID, s.State(r))
			a.say("command  %s", strings.Join(r.Command, " "))
			a.say("begun    %s", r.Begun.Format(time.DateTime))
			if r.Folder != "" {
				a.say("results  %s", r.Folder)
			}
			if s.State(r) == ledger.Running && s.Supervised(r.ID) {
				return a.showMachines(ctx, s, r)
			}
			if res := r.Result; res != nil {
				a.say("kind     %s, exit code %d", res.Kind, res.ExitCode)
				if res.Error != "" {
					a.say("error    %s", res.Error)
				}
				for _, p := range res.Ranks {
					a.say("rank %-3d %s, exit code %d %s, %s %s", p.Rank, p.Kind, p.ExitCode, p.Signal, p.Elapsed.Round(time.Millisecond), p.Task)
				}
				for _, st := range res.Timeline {
					a.say("stage    %-4s %-10s %s", st.Machine, st.Name, st.End.Sub(st.Start).Round(time.Millisecond))
				}
			}
			return nil
		}),
	}
}

func (a *app) showMachines(ctx context.Context, s *site.Site, r ledger.Record) error {
	n, err := s.Attach(r)
	if err != nil {
		return err
	}
	defer n.Close()
	all, err := n.Machines(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Failed != "" && m.Lost == "" {
			a.say("machine  %-4s %-12s its installation failed: see 'ore console %s %s', 'ore retry %s' has it go on", m.Name, m.IP, r.ID, m.Name, r.ID)
			continue
		}
		if m.Lost != "" {
			a.say("machine  %-4s %-12s lost: %s: 'ore grow %s -n %d' starts it again", m.Name, m.IP, m.Lost, r.ID, len(all))
			continue
		}
		a.say("machine  %-4s %-12s kernel %s, booted in %s", m.Name, m.IP, m.Kernel, m.Boot.Round(time.Millisecond))
	}
	return nil
}

func newJobsLogs(a *app) *cobra.Command {
	var rank string
	c := &cobra.Command{
		Use: "logs JOB", Short: "Print what a job's command printed", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: a.withSite(func(_ context.Context, s *site.Site, args []string) error {
			r, err := s.Job(args[0])
			if err != nil {
				return err
			}
			if r.Folder == "" {
				return fmt.Errorf("job %s: its machines are kept, and what runs there is shown where it was started", r.ID)
			}
			return a.logs(r.Folder, rank)
		}),
	}
	c.Flags().StringVar(&rank, "rank", "", "only this `rank` (or task-N)")
	return c
}

func (a *app) logs(folder, rank string) error {
	list, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("logs: %w: the results were moved or removed", err)
	}
	slices.SortFunc(list, func(x, y os.DirEntry) int {
		return cmp.Or(len(x.Name())-len(y.Name()), strings.Compare(x.Name(), y.Name()))
	})
	var parts []string
	for _, p := range list {
		if !p.IsDir() || rank != "" && p.Name() != rank {
			continue
		}
		parts = append(parts, p.Name())
	}
	v := view.New(view.Config{Out: a.io.out, Err: a.io.err, Quiet: true, Machines: len(parts)})
	defer v.Close() // writes out lines without an end
	for _, p := range parts {
		to := v.Named(p)
		err := errors.Join(copyOut(to.Stdout, filepath.Join(folder, p, "stdout")), copyOut(to.Stderr, filepath.Join(folder, p, "stderr")))
		if err != nil {
			return fmt.Errorf("logs: %w", err)
		}
	}
	if len(parts) == 0 {
		return fmt.Errorf("logs: no rank %q in %s", rank, folder)
	}
	return nil
}

func copyOut(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func newJobsRemove(a *app) *cobra.Command {
	var results, all bool
	c := &cobra.Command{
		Use: "rm JOB...", Short: "Forget jobs that are over", ValidArgsFunction: a.completeJobs,
		RunE: a.withSite(func(_ context.Context, s *site.Site, args []string) error {
			var records []ledger.Record
			if all {
				every, err := s.Jobs()
				if err != nil {
					return err
				}
				for _, r := range every {
					if s.State(r) != ledger.Running {
						records = append(records, r)
					}
				}
			}
			for _, name := range args {
				r, err := s.Job(name)
				if err != nil {
					return err
				}
				records = append(records, r)
			}
			if len(records) == 0 && !all {
				return usageError{errors.New("jobs rm: no job named: name some, or use --all")}
			}
			return a.removeJobs(s, records, results)
		}),
	}
	c.Flags().BoolVar(&results, "results", false, "remove their folders of results too")
	c.Flags().BoolVar(&all, "all", false, "all jobs that are over")
	return c
}

func (a *app) removeJobs(s *site.Site, records []ledger.Record, results bool) error {
	for _, r := range records {
		if err := s.Forget(r); err != nil {
			return err
		}
		if results && r.Folder != "" {
			if err := os.RemoveAll(r.Folder); err != nil {
				return fmt.Errorf("remove results: %w", err)
			}
		}
		a.say("removed %s", r.ID)
	}
	return nil
}
