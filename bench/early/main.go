// Command early measures what it brings that machines start before all of their
// image has come: the time from the request to the first line that the job prints,
// and to its end, with an image that is present only at its source.
//
//	go run ./bench/early -size 250 -link 100 -rounds 5
//
// Hosts are a test bed (package testbed): network namespaces with shaped links
// around a switch. The image is a minimal Debian with a file that does not
// compress. Every round each arm sends it to hosts that have all that machines are
// started with and nothing of the image. Arms take turns: "early" is ore run, "wait"
// the same with --no-early-start. The run before the first round has nothing
// recorded yet: its machines are watched, and it is "watched" in the rows. It needs
// root and Debian's iproute2.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	hosts, rounds, size int
	link                float64
	program             string
	pool, results       string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := start(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "early:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == serveRole {
		return serve(args[1], args[2])
	}
	var s settings
	f := flag.NewFlagSet("early", flag.ContinueOnError)
	f.IntVar(&s.hosts, "hosts", 1, "how many hosts, with one machine each")
	f.IntVar(&s.rounds, "rounds", 5, "how often each arm is measured")
	f.IntVar(&s.size, "size", 250, "MiB beside Debian in the image, which do not compress")
	f.Float64Var(&s.link, "link", 100, "Mbit/s of each link")
	f.StringVar(&s.program, "ore", "bin/ore", "the program to measure")
	f.StringVar(&s.pool, "pool", "/var/tmp/ore-bench-pool", "folder that keeps what the mirror serves")
	f.StringVar(&s.results, "results", "bench/results", "folder for the rows")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, p := range []*string{&s.program, &s.pool, &s.results} {
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	l := &lab{settings: s}
	err := l.open(ctx)
	if err == nil {
		err = l.measure(ctx)
	}
	return errors.Join(err, l.close())
}

// row is one run of one arm.
type row struct {
	Arm    string
	Round  int
	At     time.Time
	Hosts  int
	Image  int64   // bytes
	Link   float64 // Mbit/s
	Load   float64 // of this host when it began
	First  float64 // seconds until the first line of output of the last machine
	End    float64 // seconds until the command's end
	Before bool    // machines started before all had come
}

// arms are what is compared, with their words on the command line.
func arms() map[string][]string {
	return map[string][]string{"early": nil, "wait": {"--no-early-start"}}
}

// measure runs all rounds and says what came of them.
func (l *lab) measure(ctx context.Context) error {
	if err := os.MkdirAll(l.results, 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(l.results, time.Now().Format("2006-01-02-150405")+"-early.jsonl"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	all := map[string][]row{}
	take := func(arm string, round int, words []string) error {
		r, err := l.round(ctx, words, round > 0)
		if err != nil {
			return fmt.Errorf("%s: %w", arm, err)
		}
		r.Arm, r.Round = arm, round
		all[arm] = append(all[arm], r)
		fmt.Printf("%-8s round %d: first line %6.2f s, end %6.2f s, before all had come: %v\n", arm, round, r.First, r.End, r.Before)
		return json.NewEncoder(out).Encode(r)
	}
	if err := take("watched", 0, nil); err != nil {
		return err
	}
	if err := l.setKitAside(ctx); err != nil {
		return err
	}
	for round := 1; round <= l.rounds; round++ {
		order := []string{"early", "wait"}
		if round%2 == 0 {
			slices.Reverse(order)
		}
		for _, arm := range order {
			if err := take(arm, round, arms()[arm]); err != nil {
				return err
			}
		}
	}
	early, wait := median(all["early"]), median(all["wait"])
	fmt.Printf("image of %.0f MB to %d hosts at %.0f Mbit/s: first line after %.2f s, %.2f s where machines wait: %.2f x\n",
		float64(l.image)/1e6, l.hosts, l.link, early, wait, wait/early)
	return nil
}

// median is that of the times of the first line.
func median(rows []row) float64 {
	var all []float64
	for _, r := range rows {
		all = append(all, r.First)
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}
