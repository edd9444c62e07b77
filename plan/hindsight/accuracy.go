package hindsight

import (
	"cmp"
	"math"
	"slices"
	"time"

	"ore"
	"ore/plan"
)

// MaxRuns is how many runs are kept: enough for half a year of a busy site's
// accuracy, and some megabytes.
const MaxRuns = 2000

// keptOptions is how many of a plan's options are kept with a run, to be judged
// in hindsight: the chosen one and those next to it.
const keptOptions = 4

// Run is one job, as it was predicted and as it was.
type Run struct {
	At      time.Time
	Key     ore.Key
	Options []plan.Option      // the chosen first, without their packages and steps
	Actual  map[string]float64 // seconds by stage
	Whole   float64            // seconds; 0 when not all was timed
	Before  float64            `json:",omitempty"` // seconds until there was a plan
}

// NewRun returns what is kept of a job.
func NewRun(at time.Time, p plan.Plan, o Outcome) Run {
	r := Run{At: at.UTC().Truncate(time.Second), Key: p.Key, Actual: o.Actual, Whole: o.Whole, Before: o.Before}
	for _, opt := range p.Options[:min(keptOptions, len(p.Options))] {
		if opt.Possible {
			opt.Install, opt.Remove, opt.Steps = nil, nil, nil
			r.Options = append(r.Options, opt)
		}
	}
	return r
}

// StageError is how far predictions of one stage were from what was.
type StageError struct {
	Stage  string
	Runs   int
	Median float64 // of the errors, relative to what was
	P95    float64
	Bias   float64 // median of predicted over actual, less one: above zero is too long
	Inside float64 // share of runs within the range that was predicted
}

// Wrong is a choice that hindsight would not make again.
type Wrong struct {
	At     time.Time
	Key    ore.Key
	Chosen plan.Way
	Better plan.Way
	Cost   float64 // seconds, by the rates of today
	Share  float64 // of the better one's time
}

// Accuracy is how good predictions were.
type Accuracy struct {
	Runs    int
	Whole   StageError
	Stages  []StageError
	Judged  int // runs that had a choice, all of whose rates are known today
	Wrong   []Wrong
	Regret  float64 // mean of what choices cost, relative to the best
	Worst   float64
	Unknown int     // runs that could not be predicted
	Before  float64 // seconds until there was a plan, which has none of it: the median
}

// Judge says how good the predictions of runs were. Choices are judged by the
// rates of today: what the chosen way and the others should have taken.
func Judge(runs []Run, today plan.Rates) Accuracy {
	a := Accuracy{Runs: len(runs)}
	errs := map[string]*sample{}
	var before []float64
	for _, r := range runs {
		if r.Before > 0 {
			before = append(before, r.Before)
		}
		if len(r.Options) == 0 {
			continue
		}
		c := r.Options[0]
		predicted := map[string]float64{}
		known := map[string]bool{}
		for _, e := range c.Stages {
			if _, seen := predicted[e.Stage]; !seen {
				known[e.Stage] = true
			}
			predicted[e.Stage] += e.Seconds.Middle
			known[e.Stage] = known[e.Stage] && e.Known
		}
		for stage, was := range r.Actual {
			if known[stage] {
				add(errs, stage, predicted[stage], was)
			}
		}
		switch {
		case !c.Known:
			a.Unknown++
		case r.Whole > 0:
			add(errs, "", c.Total.Middle, r.Whole)
			if c.Total.Low <= r.Whole && r.Whole <= c.Total.High {
				errs[""].inside++
			}
		}
		a.judge(r, today)
	}
	for stage, s := range errs {
		if stage == "" {
			a.Whole = s.error("whole")
			continue
		}
		a.Stages = append(a.Stages, s.error(stage))
	}
	slices.SortFunc(a.Stages, func(x, y StageError) int { return cmp.Compare(place(x.Stage), place(y.Stage)) })
	if slices.Sort(before); len(before) > 0 {
		a.Before = before[len(before)/2]
	}
	if a.Judged > 0 {
		a.Regret /= float64(a.Judged)
	}
	return a
}

// judge predicts the options of a run again.
func (a *Accuracy) judge(r Run, today plan.Rates) {
	best, chosen, at := 0.0, 0.0, -1
	known := 0
	for i, o := range r.Options {
		total, all := o.Again(today)
		if !all {
			if i == 0 {
				return
			}
			continue
		}
		known++
		if i == 0 {
			chosen = total
		}
		if at < 0 || total < best {
			best, at = total, i
		}
	}
	if known < 2 {
		return
	}
	a.Judged++
	if at == 0 || best <= 0 {
		return
	}
	w := Wrong{At: r.At, Key: r.Key, Chosen: r.Options[0].Way, Better: r.Options[at].Way, Cost: chosen - best, Share: chosen/best - 1}
	a.Regret += w.Share
	a.Worst = max(a.Worst, w.Share)
	a.Wrong = append(a.Wrong, w)
}

// sample is errors of predictions.
type sample struct {
	errors, ratios []float64
	inside         int
}

func add(all map[string]*sample, stage string, predicted, was float64) {
	if was <= 0 || predicted <= 0 {
		return
	}
	s := all[stage]
	if s == nil {
		s = &sample{}
		all[stage] = s
	}
	s.errors = append(s.errors, math.Abs(predicted-was)/was)
	s.ratios = append(s.ratios, predicted/was-1)
}

func (s *sample) error(stage string) StageError {
	n := len(s.errors)
	slices.Sort(s.errors)
	slices.Sort(s.ratios)
	return StageError{Stage: stage, Runs: n, Median: s.errors[n/2], P95: s.errors[min(n-1, n*95/100)],
		Bias: s.ratios[n/2], Inside: float64(s.inside) / float64(n)}
}

// place orders stages as they happen.
func place(stage string) int {
	return slices.Index([]string{plan.Pull, plan.Register, plan.Fetch, plan.Restore, plan.Unpack, plan.Remove, plan.Configure, plan.Seal, plan.Steps,
		plan.Distribute, plan.Start, plan.Restart}, stage)
}
