package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// goBench is a benchmark of one of this project's packages, a metric of which
// is a row. It is built once, and run once a round.
type goBench struct {
	name   string // of the contestant
	of     string // the package's folder
	filter string // as go test takes it
	times  string // how often it repeats, as go test takes it
	metric string
	scale  float64 // from the metric to milliseconds
}

func goBenches() []goBench {
	return []goBench{
		{candidatesCold, "cache", "^BenchmarkCandidates$/^cold$", "300x", "p99-us", 1e-3},
		{candidatesWarm, "cache", "^BenchmarkCandidates$/^warm$", "1000x", "p99-us", 1e-3},
		{planMany, "plan", "^BenchmarkChoose$", "50x", "ns/op", 1e-6},
	}
}

func goContestants() []contestant {
	var all []contestant
	for _, g := range goBenches() {
		all = append(all, contestant{g.name, g.prepare, g.run})
	}
	return all
}

func (g goBench) program(b *bench) string { return filepath.Join(b.dir, path.Base(g.of)+".test") }

func (g goBench) prepare(ctx context.Context, b *bench) error {
	tool := os.Getenv("GO")
	if tool == "" {
		tool = "go"
	}
	out, err := exec.CommandContext(ctx, tool, "test", "-c", "-o", g.program(b), "./"+g.of).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the benchmark of %s: %w: %s", g.of, err, tail(string(out)))
	}
	return nil
}

func (g goBench) run(ctx context.Context, b *bench, round int) error {
	dir := filepath.Join(b.dir, "gobench")
	if err := b.account.mkdir(dir); err != nil {
		return err
	}
	c := &command{dir: dir, env: []string{"TMPDIR=" + dir}, args: []string{
		g.program(b), "-test.run=^$", "-test.bench=" + g.filter, "-test.benchtime=" + g.times,
	}}
	clock := startClock(g.name, round)
	if err := b.account.run(ctx, c); err != nil {
		return err
	}
	s := clock.stop(c.cpu)
	metrics := benchMetrics(c.out.String())
	v, ok := metrics[g.metric]
	if !ok {
		return fmt.Errorf("the benchmark does not tell %s: %s", g.metric, tail(c.out.String()))
	}
	s.Value, s.Unit, s.Stages = v*g.scale, "ms", map[string]float64{}
	for name, v := range metrics {
		// Stages are seconds, and shown in milliseconds.
		if what, ok := strings.CutSuffix(name, "-us"); ok {
			s.Stages[what] = v / 1e6
		}
	}
	return errors.Join(b.record.add(s), removeAll(dir))
}

// benchMetrics reads a benchmark's line: a name, how often it ran, and values
// that are each followed by a unit.
func benchMetrics(said string) map[string]float64 {
	all := map[string]float64{}
	for line := range strings.Lines(said) {
		w := strings.Fields(line)
		if len(w) < 4 || !strings.HasPrefix(w[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(w); i += 2 {
			if v, err := strconv.ParseFloat(w[i], 64); err == nil {
				all[w[i+1]] = v
			}
		}
	}
	return all
}
