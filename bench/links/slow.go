package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ore/plan"
	"ore/site/learn"
)

// small are packages as small as the link is slow, so that a layer of them comes
// in a second or two.
func small() []string { return []string{"tree", "bc"} }

// The steps here print something at their beginning and end, since a step that
// prints nothing is not seen by what learns how long it took.

// slowJob is what the slow link is asked for: these packages, and a step that
// works for some seconds and leaves little, as most steps that compile do.
const slowJob = `name: slow
environment:
  base: debian/bookworm
  packages: [%s]
  steps:
    - {name: work, run: "echo begun; i=0; while [ $i -lt %d ]; do i=$((i+1)); done; echo $i >/opt/work; echo done"}
`

// stepTurns is how often the step goes round: some four seconds of one core.
const stepTurns = 2_000_000

func (l *lab) slowFile() string { return filepath.Join(l.dir, "slow.yaml") }

// other is what the link is tried with before.
func other() []string { return []string{"jq"} }

// arm is one way to come to the image.
type arm struct {
	name  string
	base  bool // the base image is on the host
	cache bool
}

func arms() []arm {
	return []arm{
		{"nothing here, no cache", false, false},
		{"nothing here, cache", false, true},
		{"base here, no cache", true, false},
		{"base here, cache", true, true},
	}
}

// slowRow is one arm measured once.
type slowRow struct {
	Arm     string
	Round   int
	At      time.Time
	Seconds float64
	CPU     float64
	Load    float64
	Way     string
}

// slowHost is the host that asks.
const slowHost = 1

// slow measures a cache behind a slow link against none.
func slow(ctx context.Context, s settings) (err error) {
	s.hosts = 1
	l, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.prepareSlow(ctx, s); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	out, err := newRows(s, "slow")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	fmt.Printf("%s: %.0f kB over the base\n", s.packages, l.delta/1e3)
	all := map[string][]float64{}
	for round := range s.rounds {
		for i := range arms() {
			a := arms()[(i+round)%len(arms())]
			r, err := l.slowArm(ctx, a)
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			r.Round = round + 1
			all[a.name] = append(all[a.name], r.Seconds)
			if err := out.add(r); err != nil {
				return err
			}
		}
	}
	tellSlow(all)
	return nil
}

// prepareSlow builds in the cache, serves it, and has a host with the base image
// learn what building over it takes, and the link.
func (l *lab) prepareSlow(ctx context.Context, s settings) error {
	text := fmt.Appendf(nil, slowJob, s.packages, stepTurns)
	if err := os.WriteFile(l.slowFile(), text, 0o644); err != nil {
		return err
	}
	for _, set := range [][]string{nil, other(), {l.slowFile()}} {
		m, _, err := l.build(ctx, 0, set)
		if err != nil {
			return err
		}
		l.delta = float64(above(m))
	}
	tried, _, err := l.build(ctx, 0, other())
	if err != nil {
		return err
	}
	if err := errors.Join(l.serve(ctx), shape(ctx, s.rate)); err != nil {
		return err
	}
	if _, _, err := l.build(ctx, master, nil); err != nil {
		return err
	}
	job := []string{l.slowFile()}
	if err := l.practise(ctx, other(), job, job); err != nil {
		return err
	}
	if err := l.teach(ctx, master, 0, tried); err != nil {
		return err
	}
	return l.learn(ctx, master, drawn)
}

func (l *lab) slowArm(ctx context.Context, a arm) (slowRow, error) {
	err := l.clone(ctx, drawn, slowHost) // what was learned alone
	if a.base {
		err = l.settle(ctx, master, slowHost, nil)
	}
	if err != nil {
		return slowRow{}, err
	}
	var more []string
	if a.cache {
		more = []string{"--cache", l.cacheURL(0)}
	}
	load := learn.OthersLoad()
	_, d, err := l.build(ctx, slowHost, []string{l.slowFile()}, more...)
	if err != nil {
		return slowRow{}, err
	}
	run, err := l.lastRun(slowHost)
	way := "installed"
	if run.Actual[plan.Pull] > 0 {
		way = "fetched"
	}
	return slowRow{Arm: a.name, At: time.Now(), Seconds: d.took, CPU: d.cpu, Load: load, Way: way}, err
}

func tellSlow(all map[string][]float64) {
	m := func(i int) float64 { return median(all[arms()[i].name]) }
	// Two arms of a round ran one after the other; what slowed one often slowed both.
	by := func(i, j int) float64 {
		var ratios []float64
		for round, took := range all[arms()[i].name] {
			ratios = append(ratios, took/all[arms()[j].name][round])
		}
		return median(ratios)
	}
	for _, a := range arms() {
		fmt.Printf("%-24s median %6.2f s of %d\n", a.name, median(all[a.name]), len(all[a.name]))
	}
	fmt.Printf("\n| what | measured | by round | at least |\n| --- | --- | --- | --- |\n")
	fmt.Printf("| nothing here: with the cache against without | %.3f x | %.3f x | <= 1.02 x |\n", m(1)/m(0), by(1, 0))
	fmt.Printf("| base here: with the cache against without | %.3f x | %.3f x | <= 1.02 x |\n", m(3)/m(2), by(3, 2))
	fmt.Printf("| base and cache here, against no cache | %.2f x faster | %.2f x | 3 x faster |\n", m(0)/m(3), by(0, 3))
	fmt.Printf("| the same against installing over the base | %.2f x faster | %.2f x | |\n", m(2)/m(3), by(2, 3))
}
