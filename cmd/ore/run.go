package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cluster"
	"ore/cluster/results"
	"ore/cmd/ore/ending"
	"ore/cmd/ore/flags"
	"ore/cmd/ore/fleet"
	"ore/cmd/ore/keeping"
	"ore/install/recipe"
	"ore/job"
	"ore/site"
	"ore/site/installing"
	"ore/site/ledger"
)

func newRun(a *app) *cobra.Command {
	var asked flags.Job
	var t toRun
	var stdin bool
	c := &cobra.Command{
		Use:   "run [flags] [-- command [argument...]]",
		Short: "Run a job and bring its results home",
		Long: `Run a job: resolve its packages, make or reuse the image, start the machines,
run the command on them, bring output and files home, remove every trace.

The exit code is the job's own (the largest of the ranks); 124 if its time limit
was reached, 125 if ore could not do it, 130 if it was cancelled. Results are in
ore-results/JOB/RANK, and result.json there says which of these it was. They
come home even if what ore's output is piped to (head, say) ends before the job,
which goes on: end it with an interrupt or --timeout.

Each machine gets a copy of every --input in the job's folder. What is large is
better given by --mount ./db:/data/db: all machines, and later jobs, then share one
read-only copy of it, which ore makes once and makes anew only if something in it
has changed. 'ore images ls' lists such copies, and 'ore images rm' and 'ore images
prune' remove those that no job uses.

What ore's standard input was redirected to (a pipe, a file) is the standard
input of the job, if one machine runs the command (one machine, or --mode first);
otherwise, and with a terminal, the job's is empty. Ore reads it only as fast as
the job does, but what is on its way when the job ends is gone, as with ssh: in a
shell's loop that reads a list, say </dev/null or --stdin=false. A job that is
tried again (--retries) needs it as a file, which can be read again.`,
		Example: `  ore run -- uname -a
  ore run -n 4 -p ncbi-blast+ -i db.fa -i query.fa -o hits.tsv -- \
    sh -c 'makeblastdb -in db.fa -dbtype prot && blastp -db db.fa -query query.fa -outfmt 6 >hits.tsv'
  ore run -n 4 -p ncbi-blast+ --mount ./db:/data/db -i query.fa -- \
    blastp -db /data/db/swissprot -query query.fa
  ore run -p jq -- jq .name <data.json
  ore run -f job.yaml -n 8`,
	}
	c.RunE = a.onJob(onJob{
		flags: &asked,
		check: func(j ore.Job) (err error) {
			if err = job.Check(j, true); err != nil {
				return err
			}
			if t.work, err = cluster.Parts(j); err != nil {
				return err
			}
			return takesInput(j, stdinChoice{said: c.Flags().Changed("stdin"), yes: stdin}, &t.input)
		},
		do: func(ctx context.Context, s *site.Site, j ore.Job) error {
			t.root = asked.Root
			return a.run(ctx, s, j, t)
		},
	})
	asked.Environment(c)
	asked.Machines(c)
	asked.Running(c)
	asked.Locks(c)
	t.hosts.Version = version
	t.hosts.Flags(c)
	c.Flags().BoolVar(&stdin, "stdin", false, "pass standard input to the job even from a terminal; =false: never; default: when it is redirected")
	c.Flags().StringVar(&t.depot, installing.DepotFlag, "", "address of a depot that machines take all from that they install, each for itself")
	c.Flags().Lookup(installing.DepotFlag).Hidden = true // 'ore bench figures' compares by it
	c.Flags().StringVar(&t.folder, "results", "ore-results", "`folder` in which the job's folder of results is made")
	return c
}

// toRun is what there is to know about a run beside its job.
type toRun struct {
	work   []cluster.Part
	input  stdinUse
	folder string // of results
	hosts  fleet.Hosts
	root   flags.Root // how machines install themselves
	depot  string     // see installing.Maker
}

// run runs j and tells how it went.
func (a *app) run(ctx context.Context, s *site.Site, j ore.Job, t toRun) error {
	outliveReaders()
	id, err := ledger.NewID(j.Name)
	if err != nil {
		return err
	}
	here, err := t.hosts.Local()
	switch {
	case err == nil && here:
		err = s.CheckHost(id, j)
	case err == nil && t.root.Keep:
		err = errors.New("--keep-failed: machines on other hosts are not kept: leave it out, or run them on this host")
	}
	if err != nil {
		return usageError{err}
	}
	if err := site.CheckPorts(j); err != nil {
		return err
	}
	in, end, err := a.jobInput(t.input)
	if err != nil {
		return err
	}
	defer end()
	v := a.view(j)
	defer v.Close()
	record := ledger.Record{ID: id, Name: j.Name, Command: commandOf(j.Run), Begun: time.Now(), Machines: j.Machines.Count}
	config := s.ClusterConfig(id, v.Watch)
	keeper := keeping.Keeper{Book: s.Book, Record: &record}
	if t.root.Keep {
		config = s.KeptConfig(id, v.Watch)
		config.Kept = keeper.Keep
	}
	if config.Own, err = a.own(j); err != nil {
		return err
	}
	config.Work, config.Stdin = t.work, in
	installing.Maker{Site: s, ID: id, Job: j, From: recipe.Strategy(t.root.From), Discard: !t.root.Capture, Elsewhere: !here, Depot: t.depot, Watch: v.Watch}.Use(&config)
	if !a.json {
		config.Live = v.Output
	}
	if err := t.hosts.Use(s, &config, j); err != nil {
		return err
	}
	out, err := results.Create(t.folder, id)
	if err != nil {
		return err
	}
	config.Results, record.Folder = out, out.Dir()
	work, err := s.Begin(record) // nothing that may be refused comes after: a job that has begun ends with a result
	if err != nil {
		return err
	}
	defer work.Close()
	a.io.last.Set(ending.Job(s, record, out))
	defer ending.Broken(s, &record, out)
	res := cluster.Run(ctx, config, j)
	a.io.last.Set(nil)
	v.Close()
	res.Error += keeper.Advice()
	record.Result = &res
	return a.ended(s, record, out)
}

// ended writes down and tells how a job ended.
func (a *app) ended(s *site.Site, record ledger.Record, out *results.Folder) error {
	if !record.Kept {
		record.Ended = time.Now()
	}
	res := *record.Result
	// What came of the job is told, whatever became of writing it down.
	concluded := a.conclude(res, out.Dir())
	if err := errors.Join(out.Finish(res), s.Keep(record)); err != nil {
		fmt.Fprintf(a.io.err, "ore: keep the result of %s: %v: not all of it is in %s\n", res.Job, err, out.Dir())
		return cmp.Or(concluded, error(exitCode(ore.ExitFailed)))
	}
	return concluded
}

func commandOf(r ore.Run) []string {
	if len(r.Command) > 0 {
		return r.Command
	}
	return []string{"(script)"}
}

// conclude tells the result and turns it into an exit code.
func (a *app) conclude(res ore.Result, dir string) error {
	if a.json {
		if err := a.print(res); err != nil {
			return err
		}
	} else {
		if res.Error != "" {
			fmt.Fprintf(a.io.err, "ore: %s\n", res.Error)
		}
		for _, p := range res.Ranks {
			if p.Error != "" && p.Kind == ore.Finished {
				fmt.Fprintf(a.io.err, "ore: %s\n", p.Error)
			}
		}
		if !a.quiet {
			fmt.Fprintf(a.io.err, "%s: %s, %s; results in %s\n", res.Job, res.Kind, res.Timeline.Span().Round(10*time.Millisecond), dir)
		}
	}
	if res.ExitCode != 0 {
		return exitCode(res.ExitCode)
	}
	return nil
}
