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
	queue := make(chan Part)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	do := func(p Part, m string) {
		res, err := r.part(ctx, p, machines[m])
		mu.Lock()
		defer mu.Unlock()
		done[p.Index] = res
		if err != nil && ctx.Err() == nil {
			errs = append(errs, err)
		}
	}
	if r.job.Run.Mode != ore.Array {
		for _, p := range work {
			workers.Go(func() { do(p, p.Machine) })
		}
		workers.Wait()
	} else {
		for _, m := range sortedNames(machines) {
			workers.Go(func() {
				for p := range queue {
					p.Machine, p.Rank = m, rankOf(m)
					do(p, m)
				}
			})
		}
		for _, p := range work {
			queue <- p
		}
		close(queue)
		workers.Wait()
	}
	r.result.Ranks = done
	return errors.Join(errs...)
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
