// Command hosts measures the headline of many hosts: an image that is present
// only at its source, one machine on each of N hosts, and the time from the
// request to N answers of a BLAST search.
//
//	go run ./bench/hosts headline -hosts 16 -rounds 5
//	go run ./bench/hosts headline -link 20 -arms ore1,ore,chain,star
//	go run ./bench/hosts wide -rate 5
//
// Hosts are a test bed (package testbed): network namespaces with shaped links
// around a switch. It needs root, Debian's iproute2, iperf3, curl, zstd,
// netcat-openbsd, mmdebstrap, busybox-static and user-mode-linux. Its page is
// README.md in the folder above.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := start(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hosts:", err)
		os.Exit(1)
	}
}

// settings are what the command line says.
type settings struct {
	hosts, rounds int
	fewer         int // hosts of the arm that installs; 0 is all
	size          int // MiB beside BLAST in the image, which do not compress
	link          float64
	rate          float64 // of the source, where it has another than the hosts
	level         int
	arms          []string
	ore, pool     string
	results       string
	archiveFile   string
}

// mega is what rates on the command line are given in.
const mega = 1e6

func start(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == serveRole {
		return serve(args[1], args[2])
	}
	programs := map[string]func(context.Context, *lab) error{"headline": headline, "wide": wide}
	if len(args) == 0 || programs[args[0]] == nil {
		return errors.New("say what to measure: headline or wide")
	}
	s, err := parse(args[0], args[1:])
	if err != nil {
		return err
	}
	l, err := open(ctx, s)
	if err != nil {
		return err
	}
	err = programs[args[0]](ctx, l)
	return errors.Join(err, l.close())
}

func parse(what string, args []string) (settings, error) {
	var s settings
	f := flag.NewFlagSet(what, flag.ContinueOnError)
	f.IntVar(&s.hosts, "hosts", 16, "how many hosts, with one machine each")
	f.IntVar(&s.rounds, "rounds", 5, "how often each arm is measured")
	f.IntVar(&s.size, "size", 0, "MiB of files beside BLAST in the image, which do not compress")
	f.IntVar(&s.level, "level", 19, "of zstd, for the archive that the peers copy")
	f.StringVar(&s.ore, "ore", "bin/ore", "the program to measure")
	f.StringVar(&s.pool, "pool", "/var/tmp/ore-bench-pool", "folder that keeps what the mirror serves")
	f.StringVar(&s.archiveFile, "archive", "", "`file` that keeps the archive which the peers copy, for the next run with the same -size: making it takes minutes")
	f.StringVar(&s.results, "results", "bench/results", "folder for the rows")
	arms := strings.Join(armNames(), ",")
	if what == "wide" {
		f.Float64Var(&s.link, "link", 1000, "Mbit/s of each host's link")
		f.Float64Var(&s.rate, "rate", 5, "Mbit/s of the source's link")
	} else {
		f.Float64Var(&s.link, "link", 100, "Mbit/s of each link: at 20 the network is the limit rather than two cores")
		f.IntVar(&s.fewer, "install", 0, "hosts of the arm that installs on each, if fewer: its row is extrapolated from that and from one host")
		f.StringVar(&arms, "arms", arms, "what runs")
	}
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.arms = strings.Split(arms, ",")
	for _, a := range s.arms {
		if !slices.Contains(armNames(), a) {
			return s, fmt.Errorf("arm %q: not known: use some of %s", a, strings.Join(armNames(), ","))
		}
	}
	if s.hosts < 1 || s.rounds < 1 || s.size < 0 || s.fewer < 0 || s.link <= 0 {
		return s, errors.New("at least one host and round, and a link, are needed")
	}
	if s.fewer == 0 || s.fewer > s.hosts {
		s.fewer = s.hosts
	}
	for _, p := range []*string{&s.ore, &s.pool, &s.results, &s.archiveFile} {
		if *p == "" {
			continue
		}
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return s, err
		}
	}
	return s, nil
}

// armTime bounds one arm of one round: what does not end then is killed, and the
// measurement ends with a word on it.
const armTime = 20 * time.Minute

// arm is one way to N answers. Its own rows are measured at the number of hosts
// that it returns.
type arm struct {
	name  string
	hosts func(s settings) int
	run   func(l *lab, ctx context.Context, n int) (row, error)
}

func one(settings) int     { return 1 }
func all(s settings) int   { return s.hosts }
func fewer(s settings) int { return s.fewer }

// The names of arms that the table speaks of.
const (
	oursOne    = "ore1"
	ours       = "ore"
	oursEmpty  = "oreempty"
	installOne = "install1"
	installAll = "install"
	starUnpack = "star"
	starMount  = "starmount"
	chainOne   = "chain1"
	chainAll   = "chain"
)

func arms() []arm {
	return []arm{
		{oursOne, one, (*lab).ours},
		{ours, all, (*lab).ours},
		{oursEmpty, all, (*lab).oursEmpty},
		{installOne, one, (*lab).install},
		{installAll, fewer, (*lab).install},
		{starUnpack, all, (*lab).star},
		{starMount, all, (*lab).mount},
		{chainOne, one, (*lab).chain},
		{chainAll, all, (*lab).chain},
	}
}

func armNames() []string {
	var names []string
	for _, a := range arms() {
		names = append(names, a.name)
	}
	return names
}

// headline runs all arms in turn, each round beginning with the next.
func headline(ctx context.Context, l *lab) (err error) {
	if err := l.up(ctx); err != nil {
		return err
	}
	out, err := l.rows(ctx, "hosts")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	known := arms()
	known = slices.DeleteFunc(known, func(a arm) bool { return !slices.Contains(l.arms, a.name) })
	for round := range l.rounds {
		for i := range known {
			a := known[(i+round)%len(known)]
			r, err := l.timed(ctx, a)
			if err != nil {
				return fmt.Errorf("arm %s, round %d: %w", a.name, round+1, err)
			}
			r.Round = round + 1
			if err := out.add(r); err != nil {
				return err
			}
		}
	}
	return out.report(l)
}

// timed runs an arm once, with all that is noted of it beside its time.
func (l *lab) timed(ctx context.Context, a arm) (row, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, armTime, fmt.Errorf("it did not end in %v", armTime))
	defer cancel()
	n := a.hosts(l.settings)
	r, err := a.run(l, ctx, n)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	r.Arm, r.Hosts = a.name, n
	return r, err
}
