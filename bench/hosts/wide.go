package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"ore/bench/mirror"
	"ore/testbed"
)

// The arms of the wide-area site.
const (
	wideNothing = "nothing there"
	wideBase    = "base there"
)

// wide measures a site whose source is behind a slow link: what crosses that, and
// what one host lacks, which is the least that can.
func wide(ctx context.Context, l *lab) (err error) {
	if err := l.up(ctx); err != nil {
		return err
	}
	out, err := l.rows(ctx, "wide")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	for round := range l.rounds {
		if err := l.wideRound(ctx, round+1, out); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d hosts behind %.2f Mbit/s, %.0f Mbit/s inside\n\n", l.hosts, l.rate, l.link)
	fmt.Fprint(&text, "| what | runs | median s | MB over the slow link | MB that each host lacked | copies of each byte |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, name := range []string{wideNothing, wideBase} {
		sent := out.of(name, func(r row) float64 { return float64(r.Sent) / 1e6 })
		lacked := out.of(name, func(r row) float64 { return float64(r.Stored) / 1e6 })
		fmt.Fprintf(&text, "| %s | %d | %.1f | %.2f | %.2f | %.3f |\n", name, len(out.rows[name]), out.of(name, seconds), sent, lacked, sent/lacked)
	}
	return out.tell(text.String())
}

// wideRound is a request where nothing is, and one where the base is, to which
// the slow link took no part.
func (l *lab) wideRound(ctx context.Context, round int, out *table) error {
	r, err := l.oursEmpty(ctx, l.hosts)
	if err != nil {
		return err
	}
	r.Arm, r.Hosts, r.Round = wideNothing, l.hosts, round
	if err := out.add(r); err != nil {
		return err
	}
	if r, err = l.overBase(ctx); err != nil {
		return err
	}
	r.Arm, r.Hosts, r.Round = wideBase, l.hosts, round
	return out.add(r)
}

// overBase is a request on hosts that have the base image, and with it what
// machines are started with.
func (l *lab) overBase(ctx context.Context) (row, error) {
	all, err := l.agents(ctx, l.hosts, false)
	if err != nil {
		return row{}, err
	}
	r, err := l.baseThenMore(ctx)
	return r, errors.Join(err, dismiss(all))
}

func (l *lab) baseThenMore(ctx context.Context) (row, error) {
	if err := l.bed.Shape(ctx, testbed.Head, int64(l.link*mega)); err != nil {
		return row{}, err
	}
	words := append(append(common(filepath.Join(l.home(), "results"), l.hosts), l.elsewhere(l.hosts)...), "--base", "debian/"+mirror.Suite, "--", "true")
	if _, err := output(l.ordinarily(ctx, testbed.Head, l.home(), words...)); err != nil {
		return row{}, err
	}
	before, err := l.stored("h1")
	if err != nil {
		return row{}, err
	}
	if err := l.bed.Shape(ctx, testbed.Head, int64(l.rate*mega)); err != nil {
		return row{}, err
	}
	r, err := l.ask(ctx, l.hosts)
	if err != nil {
		return r, err
	}
	after, err := l.stored("h1")
	r.Stored = after - before
	return r, err
}
