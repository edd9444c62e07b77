// Command bench measures every speed that the project promises, side by side
// with the programs that do the same today, and writes down all that it
// measured. Its page is README.md in this folder.
//
// A contestant is one thing that is timed; a row compares two of them, or one
// with a limit. All contestants of the chosen rows run once a round, one after
// another, each round beginning with another one, so that a slow minute of the
// machine hits all alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ore/bench/mirror"
)

// defaultRounds is how often each contestant runs: the least from which a
// median is worth its name.
const defaultRounds = 5

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what the command line says.
type settings struct {
	ore     string
	dir     string
	pool    string
	results string
	rounds  int
	rows    []row
}

func parse(args []string) (settings, error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	var s settings
	rounds := defaultRounds
	if v := os.Getenv("ROUNDS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			return s, fmt.Errorf("ROUNDS: %w", err)
		}
		rounds = n
	}
	f.StringVar(&s.ore, "ore", "bin/ore", "the program to measure")
	f.StringVar(&s.dir, "dir", "", "folder for everything that is made; default: for root a new file system in memory, as the peers want it, else the folder for temporary files")
	f.StringVar(&s.pool, "pool", "/var/tmp/ore-bench-pool", "folder that keeps what the local mirror serves")
	f.StringVar(&s.results, "results", "bench/results", "folder for the raw rows and the summary")
	f.IntVar(&s.rounds, "rounds", rounds, "rounds; also ROUNDS")
	only := f.String("rows", "", "names of rows, separated by commas; default: all")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if s.rounds < 1 {
		return s, fmt.Errorf("%d rounds: at least 1 is needed", s.rounds)
	}
	var err error
	s.rows, err = chooseRows(*only)
	return s, err
}

func chooseRows(only string) ([]row, error) {
	all := rows()
	if only == "" {
		return all, nil
	}
	var chosen []row
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("row %q: there is none of this name", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// bench is one run of the benchmark.
type bench struct {
	settings
	account account
	mirror  *mirror.Mirror
	record  *record
	keys    map[string]string // of images, by the name that bench gave them
}

func run(ctx context.Context, args []string) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	b := &bench{settings: s, keys: map[string]string{}}
	clear, err := b.makeFolder()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clear()) }()
	if b.account, err = findAccount(ctx); err != nil {
		return err
	}
	if err := b.install(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if b.mirror, err = mirror.Start(ctx, s.pool, l); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.mirror.Close()) }()
	if b.record, err = newRecord(s.results, b.facts(ctx)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.record.close()) }()
	return b.measure(ctx)
}

// makeFolder makes the folder of this run and returns what removes it.
func (b *bench) makeFolder() (clear func() error, err error) {
	memory := b.dir == "" && os.Geteuid() == 0
	if b.dir, err = os.MkdirTemp(b.dir, "ore-bench-"); err != nil {
		return nil, err
	}
	dir := b.dir
	if !memory {
		return func() error { return removeAll(dir) }, nil
	}
	// /dev/shm would do, but that a sandbox has a /dev of its own.
	if err := unix.Mount("ore-bench", dir, "tmpfs", 0, "mode=755,size=60%"); err != nil {
		return nil, errors.Join(fmt.Errorf("mount memory on %s: %w", dir, err), os.Remove(dir))
	}
	return func() error {
		// A straggler that still has a file open keeps the memory, not the name.
		return errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir))
	}, nil
}

// install puts the program where the account can run it.
func (b *bench) install() error {
	if err := b.account.own(b.dir, 0o755); err != nil {
		return err
	}
	text, err := os.ReadFile(b.ore)
	if err != nil {
		return fmt.Errorf("%w: build it with make", err)
	}
	b.ore = filepath.Join(b.dir, "ore")
	return os.WriteFile(b.ore, text, 0o755)
}

// measure prepares, goes through the rounds and writes the summary.
func (b *bench) measure(ctx context.Context) error {
	all := contestants(b.rows)
	for _, c := range all {
		if c.prepare == nil {
			continue
		}
		begun := time.Now()
		if err := c.prepare(ctx, b); err != nil {
			return fmt.Errorf("prepare %s: %w", c.name, err)
		}
		fmt.Fprintf(os.Stderr, "prepared %-22s %6.1f s\n", c.name, time.Since(begun).Seconds())
	}
	fetched := b.mirror.Fetched()
	for round := range b.rounds {
		for i := range all {
			c := all[(round+i)%len(all)]
			if err := c.run(ctx, b, round); err != nil {
				return fmt.Errorf("round %d: %s: %w", round+1, c.name, err)
			}
		}
	}
	if n := b.mirror.Fetched() - fetched; n > 0 {
		return fmt.Errorf("the mirror was not warm: %d files were fetched while something was timed", n)
	}
	return b.record.summarize(os.Stdout, b.rows)
}
