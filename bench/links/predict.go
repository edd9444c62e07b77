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

// shared returns what an option becomes when a crowd does the same at once. Starting
// machines is no part of it. As in the product, hosts of one box are not late apart:
// cores that are shared, like a link, have done all that was asked of them when the last
// one has its own.
func shared(o plan.Option, c crowd) plan.Option {
	o.Stages = slices.DeleteFunc(slices.Clone(o.Stages), func(e plan.Estimate) bool { return e.Stage == plan.Start })
	for i := range o.Stages {
		e := &o.Stages[i]
		e.Draws = 1
		e.Branches = slices.Clone(e.Branches)
		for b := range e.Branches {
			e.Branches[b] = slices.Clone(e.Branches[b])
			for t := range e.Branches[b] {
				term := &e.Branches[b][t]
				switch {
				case e.Stage == plan.Steps: // they sleep here, which needs no core
					term.Threads, term.Share = 0, 0
				case term.Threads > 0:
					*term = c.on(*term)
				case strings.HasPrefix(term.Law, "fetch@"):
					*term = c.over(*term)
				}
			}
		}
	}
	return o
}

// seconds predicts what n hosts take that all go an option's way at once.
func seconds(o plan.Option, n int, r plan.Rates) float64 {
	s, _ := shared(o, crowd{n: n, load: learn.OthersLoad()}).Again(r)
	return s
}
