// Command chain measures how long one blob takes from one host to many: by this
// project's chain, and by programs that do the same. Each host is a network
// namespace with a link of its own, shaped both ways, behind one switch.
//
//	go run ./bench/chain -n 16 -size 256 -rate 100 -rounds 5 -arms ore,ore1,nc,udpcast
//
// It needs root, ip, tc and ss (iproute2), iperf3 for the rate that the links
// really have, and what the chosen arms need: Debian's netcat-openbsd, rsync,
// udpcast, uftp and aria2. Eta is size over that rate, divided by the time
// until the last receiver has the bytes; ours are verified by then, the others'
// are not.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
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
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "chain bench:", err)
		os.Exit(1)
	}
}

// bench is what a command line asks for.
type bench struct {
	hosts  int
	size   int64
	rate   float64 // Mbit/s
	rounds int
	arms   []arm
	dir    string
	out    io.Writer
	file   string  // the blob
	goods  float64 // measured bytes a second
	share  float64 // of the rate, for those that must be told how fast to send
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		if role, ok := roles()[args[0]]; ok {
			return role(ctx, args[1:])
		}
	}
	b := &bench{out: os.Stdout}
	f := flag.NewFlagSet("chain", flag.ContinueOnError)
	f.IntVar(&b.hosts, "n", 16, "receivers")
	size := f.Int64("size", 64, "megabytes (2^20)")
	f.Float64Var(&b.rate, "rate", 100, "Mbit/s of each link")
	f.IntVar(&b.rounds, "rounds", 5, "how often each arm runs")
	results := f.String("results", "bench/results", "folder for the rows; none if empty")
	names := f.String("arms", strings.Join(armNames(), ","), "what runs: "+strings.Join(armNames(), " "))
	f.Float64Var(&b.share, "share", 0.97, "part of the link's rate at which udpcastcap and uftp are told to send; above the rate they lose packets")
	f.StringVar(&b.dir, "dir", "/dev/shm/ore-chain-bench", "where files go; emptied")
	if err := f.Parse(args); err != nil {
		return err
	}
	b.size = *size << 20
	for _, name := range strings.Split(*names, ",") {
		i := slices.Index(armNames(), name)
		if i < 0 {
			return fmt.Errorf("arm %q: not known: use one of %s", name, strings.Join(armNames(), " "))
		}
		b.arms = append(b.arms, arms()[i])
	}
	if *results != "" {
		if err := os.MkdirAll(*results, 0o755); err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(*results, time.Now().UTC().Format("2006-01-02-150405")+"-chain.jsonl"))
		if err != nil {
			return err
		}
		defer f.Close()
		b.out = io.MultiWriter(os.Stdout, f)
	}
	return b.measure(ctx)
}

// record is one run of one arm.
type record struct {
	Arm     string
	Round   int
	N       int
	Size    int64
	Seconds float64
	Eta     float64
	CPU     float64 // seconds of all processes, user and system
	Load    float64 // before
	Note    string  `json:",omitempty"`
}

// measure makes the network and runs all arms in turn, each round beginning
// with another one.
func (b *bench) measure(ctx context.Context) (err error) {
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.makeBlob(); err != nil {
		return err
	}
	if err := b.up(ctx); err != nil {
		return errors.Join(err, b.down())
	}
	defer func() { err = errors.Join(err, b.down()) }()
	if b.goods, err = b.iperf(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "# %d receivers, %d MiB, links of %.0f Mbit/s (measured %.2f MB/s)\n", b.hosts, b.size>>20, b.rate, b.goods/1e6)
	all := map[string][]record{}
	for round := range b.rounds {
		for i := range b.arms {
			a := b.arms[(i+round)%len(b.arms)]
			r, err := b.one(ctx, a, round)
			if err != nil {
				return fmt.Errorf("arm %s, round %d: %w", a.name, round, err)
			}
			if r.Seconds > 0 {
				all[a.name] = append(all[a.name], r)
			}
			if err := json.NewEncoder(b.out).Encode(r); err != nil {
				return err
			}
		}
	}
	b.report(all)
	return nil
}

// spare is what an arm gets beside one and a half times what a star needs, which is the
// slowest way there is: for starting, and for a busy computer.
const spare = 30 * time.Second

// deadline is when an arm that has not ended is killed.
func (b *bench) deadline(n int) time.Duration {
	star := float64(n) * float64(b.size) / b.goods
	return spare + time.Duration(1.5*star*float64(time.Second))
}

// one runs an arm once. One that does not end in its time is killed, and its row
// says so.
func (b *bench) one(ctx context.Context, a arm, round int) (record, error) {
	n := a.hosts(b)
	limit := b.deadline(n)
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	before, load := childrenCPU(), load()
	r, err := a.run(b, within, n)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		fmt.Fprintf(os.Stderr, "%s: killed: %v\n", a.name, err)
		r, err = record{Note: fmt.Sprintf("killed: it did not end in %.0f s", limit.Seconds())}, nil
	}
	r.Arm, r.Round, r.N, r.Size, r.Load = a.name, round+1, n, b.size, load
	if r.Seconds > 0 {
		r.Eta = float64(b.size) / b.goods / r.Seconds
	}
	r.CPU = childrenCPU() - before
	return r, err
}

// load is the mean of the last minute (proc(5), loadavg).
func load() float64 {
	var v float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		_, _ = fmt.Sscan(string(text), &v)
	}
	return v
}

// childrenCPU is what children that have ended took.
func childrenCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

func (b *bench) makeBlob() error {
	b.file = filepath.Join(b.dir, "blob")
	f, err := os.Create(b.file)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(f, rand.Reader, b.size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
