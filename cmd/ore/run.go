package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cluster"
	"ore/cluster/results"
	"ore/job"
	"ore/site"
)

func newRun(a *app) *cobra.Command {
	var flags jobFlags
	var folder string
	c := &cobra.Command{
		Use:   "run [flags] [-- command [argument...]]",
		Short: "Run a job and bring its results home",
		Long: `Run a job: resolve its packages, make or reuse the image, start the machines,
run the command on them, bring output and files home, remove every trace.

The exit code is the job's own (the largest of the ranks); 124 if its time limit
was reached, 125 if ore could not do it, 130 if it was cancelled. Results are in
ore-results/JOB/RANK, and result.json there says which of these it was.`,
		Example: `  ore run -- uname -a
  ore run -n 4 -p ncbi-blast+ -i db.fa -i query.fa -o hits.tsv -- \
    sh -c 'makeblastdb -in db.fa -dbtype prot && blastp -db db.fa -query query.fa -outfmt 6 >hits.tsv'
  ore run -f job.yaml -n 8`,
		RunE: func(c *cobra.Command, args []string) error {
			j, err := flags.job(args)
			if err != nil {
				return err
			}
			if err := job.Check(j, true); err != nil {
				return usageError{err}
			}
			if _, err := cluster.Parts(j); err != nil {
				return usageError{err}
			}
			s, err := a.open(c.Context(), flags.pinned)
			if err != nil {
				return err
			}
			defer s.Close()
			return a.run(c.Context(), s, j, folder)
		},
	}
	flags.environment(c)
	flags.machines(c)
	flags.running(c)
	flags.locks(c)
	c.Flags().StringVar(&folder, "results", "ore-results", "`folder` in which the job's folder of results is made")
	return c
}

// run runs j and tells how it went.
func (a *app) run(ctx context.Context, s *site.Site, j ore.Job, folder string) error {
	id, err := site.NewID(j.Name)
	if err != nil {
		return err
	}
	if err := s.CheckHost(id, j); err != nil {
		return usageError{err}
	}
	out, err := results.Create(folder, id)
	if err != nil {
		return err
	}
	record := site.Record{ID: id, Name: j.Name, Command: commandOf(j.Run), Begun: time.Now(), Folder: out.Dir(), Machines: j.Machines.Count}
	if err := s.Keep(record); err != nil {
		return err
	}
	v := a.view(j)
	config := s.ClusterConfig(id, v.watch)
	config.Results = out
	if !a.json {
		config.Live = v.output
	}
	res := cluster.Run(ctx, config, j)
	v.close()
	if err := out.Finish(res); err != nil {
		return err
	}
	record.Ended, record.Result = time.Now(), &res
	if err := s.Keep(record); err != nil {
		return err
	}
	return a.conclude(res, out.Dir())
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
