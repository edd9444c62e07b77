package main

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"ore/plan"
	"ore/plan/hindsight"
)

// runsBefore is how many runs a site has seen before it is asked.
const runsBefore = 60

// transfers is how many transfers over a link were seen before.
const transfers = 3

// asker is a site that has run some jobs.
type asker struct {
	site  site
	rates plan.Rates
}

// teach lets a new site run jobs by random ways and learn from them.
func teach(rng *rand.Rand, number int) asker {
	a := asker{site: newSite(rng, newArchive(rng, 1200), []int{2, 4, 8, 16}[number%4])}
	for i := range runsBefore {
		p := a.site.newPoint(rng)
		a.learnLinks(rng, p)
		var possible []plan.Option
		answer := plan.Choose(p.ask, p.have, a.rates)
		for _, o := range answer.Options {
			if o.Possible && !o.Each {
				possible = append(possible, o)
			}
		}
		answer.Options = possible[rng.IntN(len(possible)):]
		var seen hindsight.Recorder
		r := newRun(p, answer.Options[0], uint64(i)+1<<40)
		r.told, r.read = seen.Take, seen.Load
		_, timeline := r.whole()
		o := seen.Outcome(answer, timeline)
		var layer float64
		if c := answer.Options[0]; c.Way == plan.Clean {
			var debs float64
			for _, pkg := range c.Install {
				debs += float64(pkg.Size)
			}
			layer = float64(a.site.layer(c.Install)) / debs
		}
		rounds := float64(1 + i%4)
		again := a.site.kexec*vary(rng, spreadStart) + a.site.boot/a.site.speed*vary(rng, spreadStart)*rounds
		o.Measured = append(o.Measured, plan.Measurement{Law: "restart kexec@", Amounts: []float64{1, rounds}, Took: seconds(again)})
		a.rates = a.rates.Learn(o.Measured...).Accustom(o.Parts, o.Kinds).Remember(o.Parts, layer).Aim(answer.Options[0], o.Whole)
	}
	return a
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// learnLinks has the rates see a few transfers over each link of a point, after
// a calibration.
func (a *asker) learnLinks(rng *rand.Rand, p point) {
	for _, to := range []string{"cache", plan.Mirror, plan.Peers} {
		link := p.ask.Hosts[0].Links[to][0]
		rate := p.links[link]
		a.rates = a.rates.Calibrate("", plan.Calibration{Links: map[string]plan.LinkTry{
			link: {Request: a.site.delay / connections * vary(rng, 0.2), Rate: rate * vary(rng, 0.1)}}})
		for i := range transfers {
			n := 1 + 4*i
			bytes := (0.3 + rng.Float64()) * min(8e6, rate*20)
			r := newRun(p, plan.Option{}, rng.Uint64())
			over := false
			r.each(n, connections, func(_ int, done func()) {
				r.at(r.point.site.delay*vary(r.rng, 0.2), func() { r.send(bytes, r.road(0, to), done) })
			}, func() { over = true })
			r.run(func() bool { return over })
			a.rates = a.rates.Learn(plan.Measurement{Law: "fetch@" + link, Amounts: []float64{float64(n), bytes * float64(n)}, Took: seconds(r.now)})
		}
	}
}

// option is one way of an answer, predicted and as it was.
type option struct {
	Way                   string
	Predicted, Low, High  float64
	Known                 bool
	Actual, First, Regret float64            // mean of the draws, the first draw, and over the best
	Stages, Was           map[string]float64 // seconds by stage: predicted, and in the first draw
}

// answer is one question with what came of it.
type answer struct {
	Cores, Machines, Hosts, Packages int
	Load                             float64
	Cache, Mirror                    float64  // Mbit/s
	Planned                          float64  // milliseconds
	Options                          []option // the chosen first
}

// ask puts one question and simulates all options.
func (a asker) ask(rng *rand.Rand, draws int) answer {
	p := a.site.newPoint(rng)
	a.learnLinks(rng, p)
	begun := time.Now()
	answered := plan.Choose(p.ask, p.have, a.rates)
	out := answer{
		Cores: a.site.cores, Machines: p.ask.Machines, Hosts: len(p.ask.Hosts), Packages: len(p.ask.Environment.Packages), Load: p.load,
		Cache: p.links["cache-"+p.name] * 8e-6, Mirror: p.links["mirror-"+p.name] * 8e-6, Planned: time.Since(begun).Seconds() * 1e3,
	}
	seed := rng.Uint64()
	best := math.Inf(1)
	for _, o := range answered.Options {
		if !o.Possible {
			continue
		}
		row := option{Way: name(o), Predicted: o.Total.Middle, Low: o.Total.Low, High: o.Total.High, Known: o.Known}
		row.Stages = map[string]float64{}
		for _, e := range o.Stages {
			row.Stages[e.Stage] += e.Seconds.Middle
		}
		for i := range draws {
			r := newRun(p, o, seed+uint64(i))
			var seen hindsight.Recorder
			r.told, r.read = seen.Take, seen.Load
			took, timeline := r.whole()
			if i == 0 {
				row.First = took
				row.Was = seen.Outcome(plan.Plan{Options: []plan.Option{o}}, timeline).Actual
			}
			row.Actual += took / float64(draws)
		}
		best = min(best, row.Actual)
		out.Options = append(out.Options, row)
	}
	for i := range out.Options {
		out.Options[i].Regret = out.Options[i].Actual/best - 1
	}
	return out
}

func name(o plan.Option) string {
	s := string(o.Way)
	if o.At != "" {
		s += " from " + o.At
	}
	if o.Each {
		s += " each"
	}
	return s + " " + string(o.Distribution)
}

// same is up to which difference two ways count as equally good: far below what
// one run differs from the next.
const same = 0.01

// summary is what the goals are held against.
type summary struct {
	Points, Options     int
	Median, P95         float64 // errors of the chosen way's prediction, one run each
	AllMedian, AllP95   float64 // of all options
	Inside              float64 // share of runs within the range
	Right, Strict       float64 // share of choices
	Regret, WorstRegret float64
	Planned             float64 // longest, milliseconds
}

func summarize(all []answer) summary {
	s := summary{Points: len(all)}
	var errors, everything []float64
	for _, a := range all {
		c := a.Options[0]
		errors = append(errors, math.Abs(c.Predicted-c.First)/c.First)
		if c.Low <= c.First && c.First <= c.High {
			s.Inside++
		}
		if c.Regret <= same {
			s.Right++
		}
		if c.Regret == 0 {
			s.Strict++
		}
		s.Regret += c.Regret
		s.WorstRegret = max(s.WorstRegret, c.Regret)
		s.Planned = max(s.Planned, a.Planned)
		for _, o := range a.Options {
			everything = append(everything, math.Abs(o.Predicted-o.First)/o.First)
		}
	}
	n := float64(len(all))
	s.Inside, s.Right, s.Strict, s.Regret = s.Inside/n, s.Right/n, s.Strict/n, s.Regret/n
	s.Options = len(everything)
	s.Median, s.P95 = quantiles(errors)
	s.AllMedian, s.AllP95 = quantiles(everything)
	return s
}

func quantiles(all []float64) (median, p95 float64) {
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*95/100]
}

func (s summary) tell(w io.Writer) {
	fmt.Fprintf(w, "%d points, %d options simulated\n\n", s.Points, s.Options)
	fmt.Fprintf(w, "| what | measured | at least | towards |\n| --- | --- | --- | --- |\n")
	line := func(what string, v float64, least, towards string) {
		fmt.Fprintf(w, "| %s | %.1f %% | %s | %s |\n", what, 100*v, least, towards)
	}
	line("error of the chosen way's prediction, median", s.Median, "<= 7 %", "4 %")
	line("the same, p95", s.P95, "<= 20 %", "12 %")
	line("error of all options' predictions, median", s.AllMedian, "", "")
	line("the same, p95", s.AllP95, "", "")
	line("runs within the predicted range (of 8 in 10)", s.Inside, "", "")
	line("right choice (no other is more than 1 % better)", s.Right, ">= 95 %", "98 %")
	line("the very best chosen", s.Strict, "", "")
	line("regret, mean", s.Regret, "<= 2 %", "1 %")
	line("regret, worst", s.WorstRegret, "<= 10 %", "")
}
