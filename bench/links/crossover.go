package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ore/image"
	"ore/plan"
	"ore/site/learn"
)

// crossRow is one point on one side of a crossover.
type crossRow struct {
	Which      string // "hosts" or "rate"
	Hosts      int
	Rate       float64 // bits a second
	Round      int
	At         time.Time
	Load       float64
	Fetch      float64 // seconds until the last host has the image
	Install    float64
	SayFetch   float64 // predicted before anything of this point ran
	SayInstall float64
}

// crossing is what both crossovers are measured with.
type crossing struct {
	*lab
	file  string // job file
	image image.Manifest
	bytes float64 // that a host fetches which has the base
	out   *rows
	links int // used so far
}

// jobText asks for packages, and for a step that takes its time without a core:
// it stands for what a host does on cores of its own, which the hosts here do
// not have, and for waiting for disks and restarts.
const jobText = `name: crossover
environment:
  base: debian/bookworm
  packages: [%s]
  steps:
    - {name: wait, run: "echo begun; sleep %g; echo done"}
`

// crossover predicts the two points at which installing overtakes fetching, and
// measures on both sides of each.
func crossover(ctx context.Context, s settings) (err error) {
	l, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	c := &crossing{lab: l, file: filepath.Join(l.dir, "job.yaml")}
	if err := c.prepare(ctx, s.wait); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if c.out, err = newRows(s, "crossover"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.out.close()) }()
	if err := c.byRate(ctx, s); err != nil {
		return err
	}
	return c.byHosts(ctx, s)
}

// prepare builds the image in the cache, and lets a host learn what installing it
// takes; all are like it.
func (c *crossing) prepare(ctx context.Context, wait float64) error {
	set := append(small(), other()...)
	if err := os.WriteFile(c.file, fmt.Appendf(nil, jobText, strings.Join(set, ", "), wait), 0o644); err != nil {
		return err
	}
	var err error
	if c.image, _, err = c.build(ctx, 0, []string{c.file}); err != nil {
		return err
	}
	c.bytes = float64(above(c.image))
	if err := c.serve(ctx); err != nil {
		return err
	}
	if _, _, err := c.build(ctx, master, nil); err != nil {
		return err
	}
	job := []string{c.file}
	return c.practise(ctx, job, job, job)
}

// fetchAll has n hosts fetch the image at once, and returns when the last has it.
func (c *crossing) fetchAll(ctx context.Context, n int) (float64, error) {
	return c.all(ctx, n, func(ctx context.Context, host int) error {
		_, err := c.do(ctx, host, "cache", "pull", string(c.image.Key), "--cache", c.cacheURL(c.links))
		return err
	})
}

// installAll has n hosts install it at once.
func (c *crossing) installAll(ctx context.Context, n int) (float64, error) {
	return c.all(ctx, n, func(ctx context.Context, host int) error {
		_, _, err := c.build(ctx, host, []string{c.file})
		return err
	})
}

// all does something at hosts 1 to n at once, which begin as the master is, and
// times it.
func (c *crossing) all(ctx context.Context, n int, do func(context.Context, int) error) (float64, error) {
	for host := 1; host <= n; host++ {
		if err := c.settle(ctx, master, host, nil); err != nil {
			return 0, err
		}
	}
	g, within := errgroup.WithContext(ctx)
	begun := time.Now()
	for host := 1; host <= n; host++ {
		g.Go(func() error { return do(within, host) })
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return time.Since(begun).Seconds(), nil
}

// link takes a new link with a rate, and lets the master try it.
func (c *crossing) link(ctx context.Context, rate float64) error {
	if c.links++; c.links >= mostLinks {
		return fmt.Errorf("more than %d rates", mostLinks)
	}
	if err := shape(ctx, rate); err != nil {
		return err
	}
	return c.teach(ctx, master, c.links, c.image)
}

// sides predicts both ways for n hosts.
func (c *crossing) sides(p plan.Plan, n int) (fetch, install float64, err error) {
	r, err := c.rates(master)
	if err != nil {
		return 0, 0, err
	}
	f, err := option(p, true)
	if err != nil {
		return 0, 0, err
	}
	i, err := option(p, false)
	return seconds(f, n, r), seconds(i, n, r), err
}

// point predicts, then measures both ways some times.
func (c *crossing) point(ctx context.Context, row crossRow, rounds int) (fetch, install float64, err error) {
	var fs, is []float64
	for round := range rounds {
		p, err := c.ask(ctx, master, c.links, []string{c.file})
		if err != nil {
			return 0, 0, err
		}
		row.Round, row.At, row.Load = round+1, time.Now(), learn.OthersLoad()
		if row.SayFetch, row.SayInstall, err = c.sides(p, row.Hosts); err != nil {
			return 0, 0, err
		}
		if row.Fetch, err = c.fetchAll(ctx, row.Hosts); err != nil {
			return 0, 0, err
		}
		if row.Install, err = c.installAll(ctx, row.Hosts); err != nil {
			return 0, 0, err
		}
		if err := c.out.add(row); err != nil {
			return 0, 0, err
		}
		fs, is = append(fs, row.Fetch), append(is, row.Install)
	}
	return median(fs), median(is), nil
}

// tell prints one point.
func tell(what string, fetch, install float64) {
	faster := "fetching"
	if install < fetch {
		faster = "installing"
	}
	fmt.Printf("  %-20s fetch %7.2f s, install %7.2f s: %s wins\n", what, fetch, install, faster)
}

// byRate predicts the rate below which one host is faster by installing, and
// measures at a half, three quarters, four thirds and twice that rate.
func (c *crossing) byRate(ctx context.Context, s settings) error {
	first := 8 * c.bytes / s.wait // a guess, to try the link with
	if err := c.link(ctx, first); err != nil {
		return err
	}
	p, err := c.ask(ctx, master, c.links, []string{c.file})
	if err != nil {
		return err
	}
	fetch, install, err := c.sides(p, 1)
	if err != nil {
		return err
	}
	rate := first * fetch / install // what fetching takes is bytes over rate
	fmt.Printf("link rate: predicted crossover at %.0f kbit/s, for %.0f kB against %.2f s\n", rate/1e3, c.bytes/1e3, install)
	for _, times := range []float64{0.5, 0.75, 4. / 3, 2} {
		if err := c.link(ctx, rate*times); err != nil {
			return err
		}
		f, i, err := c.point(ctx, crossRow{Which: "rate", Hosts: 1, Rate: rate * times}, s.rounds)
		if err != nil {
			return err
		}
		tell(fmt.Sprintf("%.0f kbit/s", rate*times/1e3), f, i)
	}
	return nil
}

// byHosts predicts from how many hosts on installing is faster, over a link that
// is six times as fast as the one at which one host's ways are equal, and
// measures at about half, two thirds, one and a half and twice as many.
func (c *crossing) byHosts(ctx context.Context, s settings) error {
	p, err := c.ask(ctx, master, c.links, []string{c.file})
	if err != nil {
		return err
	}
	_, install, err := c.sides(p, 1)
	if err != nil {
		return err
	}
	rate := 8 * c.bytes / install * math.Max(2, float64(s.hosts)/2)
	if err := c.link(ctx, rate); err != nil {
		return err
	}
	if p, err = c.ask(ctx, master, c.links, []string{c.file}); err != nil {
		return err
	}
	at := 0
	for n := 1; n <= 256 && at == 0; n++ {
		f, i, err := c.sides(p, n)
		if err != nil {
			return err
		}
		if f > i {
			at = n
		}
	}
	if at == 0 {
		return errors.New("no crossover is predicted: -wait is too long for the sizes")
	}
	fmt.Printf("hosts: predicted crossover at %d hosts, over %.0f kbit/s\n", at, rate/1e3)
	seen := map[int]bool{}
	for _, times := range []float64{0.4, 0.7, 1.4, 2} {
		n := min(s.hosts, max(1, int(math.Round(float64(at)*times))))
		if seen[n] {
			continue
		}
		seen[n] = true
		f, i, err := c.point(ctx, crossRow{Which: "hosts", Hosts: n, Rate: rate}, s.rounds)
		if err != nil {
			return err
		}
		tell(fmt.Sprintf("%d hosts", n), f, i)
	}
	return nil
}
