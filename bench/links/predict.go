package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ore/plan"
	"ore/site/learn"
)

// ask returns the plan of a host for a set, with the cache behind link k.
func (l *lab) ask(ctx context.Context, host, k int, set []string) (plan.Plan, error) {
	d, err := l.do(ctx, host, append([]string{"plan", "--json", "--cache", l.cacheURL(k)}, wants(set)...)...)
	var p plan.Plan
	if err == nil {
		err = json.Unmarshal(d.out, &p)
	}
	return p, err
}

// option returns the best option of a plan that takes the image from the cache,
// or the best that does not.
func option(p plan.Plan, fetched bool) (plan.Option, error) {
	for _, o := range p.Options {
		if o.Possible && (o.Way == plan.Fetched) == fetched {
			return o, nil
		}
	}
	return plan.Option{}, fmt.Errorf("the plan has no such way, fetched: %v", fetched)
}

// shared returns what an option becomes when n hosts do the same at once: here
// they have one computer's cores and one link to the cache between them.
// Starting machines is no part of it. load is how many threads of others want a core.
func shared(o plan.Option, n int, load float64) plan.Option {
	o.Stages = slices.DeleteFunc(slices.Clone(o.Stages), func(e plan.Estimate) bool { return e.Stage == plan.Start })
	for i := range o.Stages {
		e := &o.Stages[i]
		e.Draws = n
		e.Branches = slices.Clone(e.Branches)
		for b := range e.Branches {
			e.Branches[b] = slices.Clone(e.Branches[b])
			for t := range e.Branches[b] {
				term := &e.Branches[b][t]
				switch {
				case e.Stage == plan.Steps: // they sleep here, which needs no core
					term.Threads, term.Share = 0, 0
				case term.Threads > 0:
					term.Copies = n
					term.Share = term.ShareUnder(load)
				case strings.HasPrefix(term.Law, "fetch@"):
					term.Amounts = slices.Clone(term.Amounts)
					term.Amounts[len(term.Amounts)-1] *= float64(n)
				}
			}
		}
	}
	return o
}

// seconds predicts what n hosts take that all go an option's way at once.
func seconds(o plan.Option, n int, r plan.Rates) float64 {
	s, _ := shared(o, n, learn.OthersLoad()).Again(r)
	return s
}
