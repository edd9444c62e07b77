package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ore/image"
	"ore/plan"
	"ore/plan/hindsight"
	"ore/site/learn"
)

// packagesToDraw are what environments are drawn from, of 20 kB to 5 MB.
func packagesToDraw() []string {
	return []string{"tree", "bc", "jq", "less", "file", "gawk", "sqlite3", "lsof", "rsync", "tmux", "nano", "wget",
		"curl", "zstd", "make", "hmmer", "python3-minimal", "openssl", "m4", "patch", "time", "psmisc", "dc", "ed"}
}

// point is a question that is measured: what is asked, by how many hosts, over
// which link, and what lies on the hosts already.
type point struct {
	Number int
	Set    []string
	Near   []string `json:",omitempty"` // an image that each host has
	Hosts  int
	Rate   float64 // bits a second
	Link   int
}

// rates of links; the same few, so that each is tried once. Mbit/s.
func linkRates() []float64 { return []float64{0.5, 1.5, 4, 12, 40, 120, 350, 1000} }

// fastLink is the first of them that is not what small fetches wait for.
const fastLink = 5

// points draws n points.
func points(s settings) []point {
	r := rand.New(rand.NewPCG(s.seed, 3))
	var all []point
	for i := range s.points {
		p := point{Number: i, Hosts: 1 + r.IntN(4), Link: r.IntN(len(linkRates()))}
		p.Rate = linkRates()[p.Link] * 1e6
		from := packagesToDraw()
		r.Shuffle(len(from), func(i, k int) { from[i], from[k] = from[k], from[i] })
		n := 1 + r.IntN(5)
		p.Set = slices.Sorted(slices.Values(from[:n]))
		if n > 1 && r.IntN(2) == 0 {
			p.Near = slices.Sorted(slices.Values(append(slices.Clone(from[1:n]), from[n])))
		}
		all = append(all, p)
	}
	return all
}

// measuredRow is a point measured once.
type measuredRow struct {
	point
	Try       int // 1 or 2
	At        time.Time
	Load      float64
	Busy      float64 // threads that one host alone keeps busy by this way
	Way       plan.Way
	Predicted float64 // before
	Actual    float64 // of the last host, by its own record
	Wall      float64 // until the last command ended

	Foreseen map[string]float64 // seconds by stage, of the way taken
	Stages   map[string]float64 // seconds by stage of that host, of those that are timed
}

// measured predicts points and measures each twice.
func measured(ctx context.Context, s settings) (err error) {
	known, err := earlier(s.resume)
	if err != nil {
		return err
	}
	s.hosts = 4
	l, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	l.busy = map[string][]float64{}
	all := points(s)
	if err := l.prepareMeasured(ctx, all); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	out, err := newRows(s, "measured")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	for _, p := range all {
		if len(known[p.Number]) == tries {
			continue
		}
		rows, err := l.measurePoint(ctx, p)
		if err != nil {
			return fmt.Errorf("point %d: %w", p.Number, err)
		}
		known[p.Number] = rows
		for _, r := range rows {
			if err := out.add(r); err != nil {
				return err
			}
		}
	}
	tellMeasured(known)
	return nil
}

// tries is how often a point is measured: once to predict it, and once more to
// see how far two measurements of one thing are apart.
const tries = 2

// earlier reads raw rows of a run that ended early.
func earlier(name string) (map[int][]measuredRow, error) {
	known := map[int][]measuredRow{}
	if name == "" {
		return known, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		var r measuredRow
		if json.Unmarshal(in.Bytes(), &r) != nil {
			continue // cut short
		}
		if r.Try == 1 {
			known[r.Number] = nil
		}
		known[r.Number] = append(known[r.Number], r)
	}
	return known, nil
}

// prepareMeasured has host 1 see all packages and learn, makes the images in the
// cache, and tries each link.
func (l *lab) prepareMeasured(ctx context.Context, all []point) error {
	for _, host := range []int{master, 0} {
		m, _, err := l.build(ctx, host, packagesToDraw())
		if err == nil {
			err = l.forget(ctx, host, m.Key)
		}
		if err != nil {
			return err
		}
	}
	var tried []image.Manifest
	sets := [][]string{{"tree"}, {"less", "bc"}, {"jq"}, {"openssl", "wget"}, {"rsync", "gawk"}}
	// One as large as the largest that are drawn: what a byte takes over a fast link is
	// not seen in images that come in the time of their requests.
	large := []string{"curl", "hmmer", "openssl", "python3-minimal"}
	for _, set := range append(slices.Clone(sets), large) {
		m, _, err := l.build(ctx, 0, set)
		if err != nil {
			return err
		}
		tried = append(tried, m)
	}
	for _, p := range all {
		if _, _, err := l.build(ctx, 0, p.Set); err != nil {
			return err
		}
	}
	if _, _, err := l.build(ctx, master, nil); err != nil { // the base image stays
		return err
	}
	if err := l.practise(ctx, sets...); err != nil {
		return err
	}
	if err := l.practiseOver(ctx, sets...); err != nil {
		return err
	}
	if err := l.serve(ctx); err != nil {
		return err
	}
	for k, rate := range linkRates() {
		if err := shape(ctx, rate*1e6); err != nil {
			return err
		}
		try := tried[:2] // a request and a byte are told apart by two sizes
		if rate > 5 {    // larger images say more about a fast link
			try = tried
		}
		if err := l.teach(ctx, master, k, try...); err != nil {
			return err
		}
	}
	return nil
}

// measurePoint predicts and measures a point, twice from the same state.
func (l *lab) measurePoint(ctx context.Context, p point) ([]measuredRow, error) {
	if err := shape(ctx, p.Rate); err != nil {
		return nil, err
	}
	if err := l.settle(ctx, master, drawn, nil); err != nil {
		return nil, err
	}
	if p.Near != nil {
		if _, _, err := l.build(ctx, drawn, p.Near); err != nil {
			return nil, err
		}
	}
	var rows []measuredRow
	var err error
	for try := range tries {
		var r measuredRow
		if r, err = l.tryPoint(ctx, p); err != nil {
			return nil, err
		}
		r.Try = try + 1
		rows = append(rows, r)
	}
	// A host that shares the link without knowing it takes the others' share for
	// the link's rate: what it learned then holds for no other number of hosts.
	if p.Hosts == 1 {
		err = l.learn(ctx, 1, master)
	}
	return rows, err
}

// tryPoint asks the plan, then has all hosts build at once.
func (l *lab) tryPoint(ctx context.Context, p point) (measuredRow, error) {
	for host := 1; host <= p.Hosts; host++ {
		if err := l.settle(ctx, drawn, host, p.Near); err != nil {
			return measuredRow{}, err
		}
	}
	row := measuredRow{point: p, At: time.Now()}
	var load learn.Load // as ore sees it: what others do while it makes its plan
	load.Begin()
	asked, err := l.ask(ctx, 1, p.Link, p.Set)
	if err != nil {
		return row, err
	}
	rates, err := l.rates(1)
	if err != nil {
		return row, err
	}
	row.Load = load.Others()
	said := map[plan.Way]plan.Option{}
	for _, o := range slices.Backward(asked.Options) {
		if o.Possible {
			said[o.Way] = shared(o, l.crowd(o, p.Hosts, row.Load))
		}
	}
	g, within := errgroup.WithContext(ctx)
	begun := time.Now()
	for host := 1; host <= p.Hosts; host++ {
		g.Go(func() error {
			_, d, err := l.build(within, host, p.Set, "--cache", l.cacheURL(p.Link))
			if err != nil {
				return err
			}
			r, err := l.lastRun(host)
			if err != nil || r.At.Before(begun.Truncate(time.Second)) {
				return fmt.Errorf("host %d kept no record of its run (%v): %s", host, err, d.said)
			}
			if p.Hosts == 1 && (r.Actual[plan.Pull] == 0 || p.Link >= fastLink) {
				l.kept(kindOfRun(r), d)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return row, err
	}
	row.Wall = time.Since(begun).Seconds()
	for host := 1; host <= p.Hosts; host++ {
		r, err := l.lastRun(host)
		if err != nil {
			return row, err
		}
		if r.Whole > row.Actual {
			row.Actual, row.Way, row.Stages = r.Whole, r.Options[0].Way, r.Actual
		}
	}
	// Hosts that start at the same time all decide as the first was asked to,
	// but for what the load of that moment turns.
	o := said[row.Way]
	row.Predicted, _ = o.Again(rates)
	row.Busy = l.crowd(o, p.Hosts, row.Load).busy
	row.Foreseen = map[string]float64{}
	for _, e := range o.Stages {
		s, _ := plan.Option{Stages: []plan.Estimate{e}}.Again(rates)
		row.Foreseen[e.Stage] += s
	}
	return row, nil
}

// lastRun is the latest entry of a host's record of runs.
func (l *lab) lastRun(host int) (hindsight.Run, error) {
	var r hindsight.Run
	f, err := os.Open(filepath.Join(l.home(host), "state", "runs.jsonl"))
	if err != nil {
		return r, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 16<<20)
	var last []byte
	for in.Scan() {
		last = append(last[:0], in.Bytes()...)
	}
	if err := errors.Join(in.Err(), json.Unmarshal(last, &r)); err != nil {
		return r, err
	}
	if len(r.Options) == 0 {
		return r, errors.New("a run without a plan")
	}
	return r, nil
}

// tellMeasured compares the errors with how far two measurements are apart.
func tellMeasured(known map[int][]measuredRow) {
	var errs, spread []float64
	ways := map[plan.Way]int{}
	for _, rows := range known {
		if len(rows) != tries || rows[0].Predicted == 0 || rows[0].Actual == 0 {
			continue
		}
		a, b := rows[0].Actual, rows[1].Actual
		errs = append(errs, math.Abs(rows[0].Predicted-a)/a)
		spread = append(spread, math.Abs(a-b)/((a+b)/2))
		ways[rows[0].Way]++
	}
	if len(errs) == 0 {
		fmt.Println("no point was measured twice")
		return
	}
	e, s := median(errs), median(spread)
	fmt.Printf("%d points of %d, by way %v\n\n| what | measured | at least |\n| --- | --- | --- |\n", len(errs), len(known), ways)
	fmt.Printf("| median error of a prediction | %.1f %% | |\n| median difference of two measurements | %.1f %% | |\n", 100*e, 100*s)
	fmt.Printf("| error against the test-retest spread | %.2f x | <= 1.3 x |\n", e/s)
}
