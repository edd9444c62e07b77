package cluster

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/guest"
)

// maxTasks bounds an array: each task has a folder of results.
const maxTasks = 1_000_000

// JobDir is the job's folder in a machine.
const JobDir = "/job"

// Part is a piece of work that ends with an exit code: a rank, or a task of an
// array.
type Part struct {
	Name    string // folder of its results: the rank, or task-N
	Rank    int    // of the machine that does it; in an array known once it runs
	Machine string
	Task    string // the task's text, in an array
	File    string // a host file of its own, in an array made by glob
	Index   int
	array   bool
}

// Parts divides a job's work. Its errors are faults of the request.
func Parts(j ore.Job) ([]Part, error) {
	count := j.Machines.Count
	switch j.Run.Mode {
	case ore.Array:
		return tasks(j.Run.Tasks)
	case ore.First:
		count = 1
	}
	var all []Part
	for i := range count {
		all = append(all, Part{Name: strconv.Itoa(i), Rank: i, Machine: MachineName(i), Index: i})
	}
	return all, nil
}

// tasks reads the tasks of an array.
func tasks(t ore.Tasks) ([]Part, error) {
	var all []Part
	add := func(text, file string) {
		all = append(all, Part{Name: fmt.Sprintf("task-%d", len(all)), Task: text, File: file, Index: len(all), array: true})
	}
	if t.Glob != "" {
		files, err := filepath.Glob(t.Glob)
		if err != nil {
			return nil, fmt.Errorf("tasks %s: %w: correct the pattern", t.Glob, err)
		}
		for _, f := range files {
			add(filepath.Base(f), f)
		}
	} else {
		f, err := os.Open(t.From)
		if err != nil {
			return nil, fmt.Errorf("tasks: %w: correct the path or make the file", err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if s := strings.TrimSpace(lines.Text()); s != "" {
				add(s, "")
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("tasks %s: %w", t.From, err)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("tasks %s%s: there are none, so nothing would run: give at least one", t.From, t.Glob)
	case len(all) > maxTasks:
		return nil, fmt.Errorf("tasks: %d, more than %d: make them larger", len(all), maxTasks)
	}
	return all, nil
}

// runAll does all parts: each rank on its machine, tasks on whichever machine
// is free. Its error is the system's; what came of the parts is in the result.
func (r *run) runAll(ctx context.Context, work []Part, machines map[string]Node) error {
	r.runBegun = time.Now()
	done := make([]ore.RankResult, len(work)) // in the order of the parts
	var workers sync.WaitGroup
	var mu sync.Mutex // guards errs
	var errs []error
	do := func(p Part) error {
		res, err := r.part(ctx, p, machines[p.Machine])
		done[p.Index] = res // each part has its own place
		if err != nil && ctx.Err() == nil {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
		return err
	}
	if r.job.Run.Mode == ore.Array {
		queue := make(chan Part, len(work))
		for _, p := range work {
			queue <- p
		}
		close(queue)
		for _, m := range sortedNames(machines) {
			workers.Go(func() {
				pull(queue, func(p Part) bool {
					p.Machine, p.Rank = m, rankOf(m)
					return do(p) == nil || ctx.Err() != nil || answers(ctx, machines[m], m)
				})
			})
		}
		workers.Wait()
		for p := range queue { // no machine was left for these
			var err error
			done[p.Index], err = fail(ore.RankResult{Rank: -1, Task: p.Task}, fmt.Errorf("task %q: every machine was lost before it: run the job again, with retries", p.Task))
			errs = append(errs, err)
		}
	} else {
		for _, p := range work {
			workers.Go(func() { _ = do(p) }) // its error is kept
		}
		workers.Wait()
	}
	r.result.Ranks = done
	return errors.Join(distinct(errs)...)
}

// distinct leaves out of errors what was said before: a batch system that ends a job
// ends all of its parts, for one reason.
func distinct(errs []error) (all []error) {
	said := map[string]bool{}
	for _, err := range errs {
		if !said[err.Error()] {
			said[err.Error()] = true
			all = append(all, err)
		}
	}
	return all
}

// answer is how long a machine may take to show that it still works, after a
// task on it failed by no fault of the task: one of sixteen on two cores.
const answer = 10 * time.Second

// pull does tasks on one machine until there are none or the machine is lost:
// the tasks that it would have failed are for the others.
func pull(queue <-chan Part, do func(Part) bool) {
	for p := range queue {
		if !do(p) {
			return
		}
	}
}

// answers says whether a machine still runs commands.
func answers(ctx context.Context, n Node, machine string) bool {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	_, err := n.Exec(ctx, machine, guest.Command{Args: []string{"/bin/true"}})
	return err == nil
}

func sortedNames(machines map[string]Node) []string {
	var names []string
	for n := range machines {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	return names
}

// MachineName is the name of the machine with a rank, and rankOf its inverse.
func MachineName(rank int) string { return "m" + strconv.Itoa(rank) }

func rankOf(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "m"))
	if err != nil {
		return -1
	}
	return n
}

func sortStages(t ore.Timeline) ore.Timeline {
	s := slices.Clone(t)
	slices.SortStableFunc(s, func(a, b ore.Stage) int { return a.Start.Compare(b.Start) })
	return s
}
