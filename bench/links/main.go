// Command links measures what a link to the cache decides, with real servers and
// hosts in network namespaces: 'links slow' a cache behind 500 kbit/s, 'links
// crossover' the two points at which installing overtakes fetching, 'links
// measured' how far predictions are from what is measured. Its page is README.md
// in the folder above.
//
// A cache, a mirror and hosts hang on one switch. Only the cache's link is shaped.
// Every host has a home of its own, and all share this machine's cores. Everything
// is in memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := start(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "links:", err)
		os.Exit(1)
	}
}

// settings are what the command line says.
type settings struct {
	ore      string
	pool     string
	results  string
	resume   string
	rounds   int
	points   int
	hosts    int
	seed     uint64
	wait     float64
	rate     float64 // bits a second
	packages string  // of the slow job
}

func start(ctx context.Context, args []string) error {
	programs := map[string]func(context.Context, settings) error{"slow": slow, "crossover": crossover, "measured": measured}
	if len(args) == 0 || programs[args[0]] == nil {
		return errors.New("say what to measure: slow, crossover or measured")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	s := settings{hosts: 4}
	f.StringVar(&s.ore, "ore", "bin/ore", "the program to measure")
	f.StringVar(&s.pool, "pool", "/var/tmp/ore-bench-pool", "folder that keeps what the mirror serves")
	f.StringVar(&s.results, "results", "bench/results", "folder for the raw rows")
	f.StringVar(&s.resume, "resume", "", "measured: file of raw rows to go on with")
	f.IntVar(&s.rounds, "rounds", 5, "how often each arm is measured; measured: 2, by its nature")
	f.IntVar(&s.points, "points", 40, "measured: how many points")
	f.Uint64Var(&s.seed, "seed", 1, "measured: of all that is drawn")
	f.Float64Var(&s.wait, "wait", 4, "crossover: seconds of an installation that need no core of this machine")
	f.StringVar(&s.packages, "packages", "tree, bc", "slow: packages over the base")
	f.Float64Var(&s.rate, "rate", 500e3, "slow: bits a second of the cache's link")
	if args[0] == "crossover" {
		f.IntVar(&s.hosts, "hosts", 12, "most hosts")
	}
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if s.rounds < 1 || s.points < 1 || s.hosts < 1 {
		return errors.New("at least one round, point and host is needed")
	}
	return programs[args[0]](ctx, s)
}

// rows are raw rows that are written as they are measured.
type rows struct{ file *os.File }

func newRows(s settings, what string) (*rows, error) {
	if s.resume != "" {
		f, err := os.OpenFile(s.resume, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, err
		}
		_, err = f.WriteString("\n") // the last line may be cut short
		return &rows{f}, err
	}
	if err := os.MkdirAll(s.results, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(s.results, time.Now().UTC().Format("2006-01-02-150405")+"-"+what+".jsonl"))
	return &rows{f}, err
}

func (r *rows) add(row any) error {
	text, err := json.Marshal(row)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s\n", text)
	_, err = r.file.Write(append(text, '\n'))
	return err
}

func (r *rows) close() error { return r.file.Close() }

// median of at least one value.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	if n == 0 {
		return math.NaN()
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}
