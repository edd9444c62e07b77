// Command chain measures how long one blob takes from one host to many: by this
// project's chain, and by programs that do the same. Each host is a network
// namespace with a link of its own, shaped both ways, behind one switch.
//
//	go run ./bench/chain -n 16 -size 256 -rate 100 -rounds 5 -arms ore,ore1,nc,udpcast
//
// It needs root, ip and tc (iproute2), and what the chosen arms need: nc
// (netcat-openbsd), udp-sender and udp-receiver (udpcast), iperf3 for the rate
// that the links really have. Eta is size over that rate, divided by the time
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
	arms   []string
	dir    string
	out    io.Writer
	file   string  // the blob
	goods  float64 // measured bytes a second
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
	arms := f.String("arms", "ore1,ore,nc,udpcast", "what runs: "+strings.Join(armNames(), " "))
	f.StringVar(&b.dir, "dir", "/dev/shm/ore-chain-bench", "where files go; emptied")
	if err := f.Parse(args); err != nil {
		return err
	}
	b.size, b.arms = *size<<20, strings.Split(*arms, ",")
	for _, a := range b.arms {
		if !slices.Contains(armNames(), a) {
			return fmt.Errorf("arm %q: not known: use one of %s", a, strings.Join(armNames(), " "))
		}
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
			arm := b.arms[(i+round)%len(b.arms)]
			r, err := b.one(ctx, arm, round)
			if err != nil {
				return fmt.Errorf("arm %s, round %d: %w", arm, round, err)
			}
			all[arm] = append(all[arm], r)
			if err := json.NewEncoder(b.out).Encode(r); err != nil {
				return err
			}
		}
	}
	b.report(all)
	return nil
}

func (b *bench) one(ctx context.Context, arm string, round int) (record, error) {
	before := childrenCPU()
	r, err := b.arm(ctx, arm)
	r.Arm, r.Round, r.Size = arm, round, b.size
	r.Eta = float64(b.size) / b.goods / r.Seconds
	r.CPU = childrenCPU() - before
	return r, err
}

// childrenCPU is what children that have ended took.
func childrenCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// report prints the medians.
func (b *bench) report(all map[string][]record) {
	fmt.Fprintf(b.out, "\n| arm | N | median s | least | most | eta | CPU s per GB and hop |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, arm := range b.arms {
		rs := all[arm]
		seconds, cpu := column(rs, func(r record) float64 { return r.Seconds }), column(rs, func(r record) float64 { return r.CPU })
		m := seconds[len(seconds)/2]
		fmt.Fprintf(b.out, "| %s | %d | %.2f | %.2f | %.2f | %.3f | %.2f |\n", arm, rs[0].N, m, seconds[0], seconds[len(seconds)-1],
			float64(b.size)/b.goods/m, cpu[len(cpu)/2]/float64(rs[0].N)/(float64(b.size)/1e9))
	}
}

// column is one number of each record, sorted.
func column(rs []record, of func(record) float64) []float64 {
	var c []float64
	for _, r := range rs {
		c = append(c, of(r))
	}
	slices.Sort(c)
	return c
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
