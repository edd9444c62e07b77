package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"ore/plan/words"
)

// WhatIf is a change to what is asked, to what exists and to links, to see what
// the plan would then be. Nil fields and empty ones change nothing.
type WhatIf struct {
	Link, Mirror, Peers   *float64 // bits in a second
	Machines, Hosts       *int
	Cores                 *int
	Load                  *float64
	Cache                 string // "none": no image at all; "here": none of another cache's
	Debs                  string // "none": no package is here, decoded or not
	Superset, Chain, Each *bool
	Start                 string
}

// Limits of what-ifs: a plan for more would say nothing about any site.
const (
	mostMachines = 1 << 20
	mostHosts    = 1 << 12
	mostLoad     = 1 << 16
)

// WhatIfKeys lists the keys that ParseWhatIf knows.
func WhatIfKeys() []string {
	return []string{"cache", "chain", "cores", "debs", "each", "hosts", "link", "load", "machines", "mirror", "peers", "start", "superset"}
}

// set reads the value of a key that there is.
func (w *WhatIf) set(key, v string) error {
	switch key {
	case "link":
		return words.Rate(&w.Link, v)
	case "mirror":
		return words.Rate(&w.Mirror, v)
	case "peers":
		return words.Rate(&w.Peers, v)
	case "machines":
		return words.Count(&w.Machines, v, mostMachines)
	case "hosts":
		return words.Count(&w.Hosts, v, mostHosts)
	case "cores":
		return words.Count(&w.Cores, v, mostHosts)
	case "load":
		return words.Number(&w.Load, v, mostLoad)
	case "cache":
		return words.OneOf(&w.Cache, v, "none", "here", "all")
	case "debs":
		return words.OneOf(&w.Debs, v, "none", "all")
	case "superset":
		return words.YesNo(&w.Superset, v)
	case "chain":
		return words.YesNo(&w.Chain, v)
	case "each":
		return words.YesNo(&w.Each, v)
	}
	if v == "" || strings.ContainsAny(v, "@ ") {
		return fmt.Errorf("not the name of a hypervisor")
	}
	w.Start = v
	return nil
}

// ParseWhatIf reads "key=value,key=value", as in
// "link=500kbit,machines=64,cache=none". A key may be given once.
//
//	link, mirror, peers   rate of the links to caches, to the mirror, between
//	                      hosts: a number and bit, kbit, Mbit or Gbit, where k is
//	                      1000, as tc(8) has them
//	machines, hosts       how many
//	cores, load           of each host: how many, and how many threads of others
//	                      want one
//	cache                 none (no image anywhere), here (no other cache's), all
//	debs                  none (no package is here), all
//	superset, chain, each yes or no
//	start                 the name of a hypervisor
func ParseWhatIf(text string) (WhatIf, error) {
	var w WhatIf
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return WhatIf{}, fmt.Errorf("what-if %q: no value: write it as key=value", part)
		}
		if !slices.Contains(WhatIfKeys(), key) {
			return WhatIf{}, fmt.Errorf("what-if %q: there is no such key: use %s", key, strings.Join(WhatIfKeys(), ", "))
		}
		if seen[key] {
			return WhatIf{}, fmt.Errorf("what-if %q: it is given twice: give it once", key)
		}
		seen[key] = true
		if err := w.set(key, value); err != nil {
			return WhatIf{}, fmt.Errorf("what-if %s=%s: %w", key, value, err)
		}
	}
	return w, nil
}

// Vain says which of the changes change nothing, and why, of a question as Apply
// returned it.
func (w WhatIf) Vain(ask Ask, have Have) []string {
	var all []string
	say := func(vain bool, text string) {
		if vain {
			all = append(all, text)
		}
	}
	afar := slices.ContainsFunc(have.Candidates, func(c Candidate) bool { return c.At != "" })
	switch {
	case w.Link == nil || afar:
	case have.Exact != nil:
		all = append(all, "link changes nothing: the image is here, so that no cache elsewhere is asked")
	default:
		all = append(all, "link changes nothing: it is the link to caches elsewhere, and none has anything of use: name one with --cache; mirror= and peers= are the other links")
	}
	alone := len(ask.Hosts) < 2
	say(w.Peers != nil && alone, "peers changes nothing: there is one host: add hosts=N")
	say(w.Chain != nil && alone, "chain changes nothing: there is one host: add hosts=N")
	return all
}

// Apply returns the question as it would be.
func (w WhatIf) Apply(ask Ask, have Have, rates Rates) (Ask, Have, Rates) {
	rates = rates.clone()
	ask = w.ask(ask)
	hosts := ask.hosts()
	if w.Mirror != nil {
		rates.set(hosts, Mirror, *w.Mirror)
	}
	if w.Peers != nil {
		rates.set(hosts, Peers, *w.Peers)
	}
	switch w.Cache {
	case "none":
		have.Exact, have.Candidates, have.Base, have.Steps = nil, nil, false, nil
	case "here":
		have.Candidates = slices.DeleteFunc(slices.Clone(have.Candidates), func(c Candidate) bool { return c.At != "" })
	}
	if w.Debs == "none" {
		have.Debs, have.Packs = nil, nil
	}
	if w.Link != nil {
		for _, c := range have.Candidates {
			if c.At != "" {
				rates.set(hosts, c.At, *w.Link)
			}
		}
	}
	return ask, have, rates
}

func (w WhatIf) ask(a Ask) Ask {
	if w.Machines != nil {
		a.Machines = *w.Machines
	}
	hosts := slices.Clone(a.Hosts)
	if len(hosts) == 0 {
		hosts = []Host{{}}
	}
	if w.Hosts != nil {
		n := *w.Hosts
		if a.Elsewhere {
			n++ // the first only makes the image
		}
		for i := len(hosts); i < n; i++ {
			h := hosts[len(hosts)-1]
			h.Name, h.Box, h.Holds = fmt.Sprintf("host-%d", i), "", nil
			hosts = append(hosts, h)
		}
		hosts, a.Chain = hosts[:n], n > 1 // as engines do
	}
	for i := range hosts {
		if w.Machines != nil || w.Hosts != nil {
			hosts[i].Machines = 0 // shared out again
		}
		if w.Cores != nil {
			hosts[i].Cores = *w.Cores
		}
		if w.Load != nil {
			hosts[i].Load = *w.Load
		}
	}
	a.Hosts = hosts
	set := func(to *bool, from *bool) {
		if from != nil {
			*to = *from
		}
	}
	set(&a.Superset, w.Superset)
	set(&a.Chain, w.Chain)
	set(&a.Each, w.Each)
	if w.Start != "" {
		a.Starts = []string{w.Start}
	}
	return a
}

// set gives the links to a destination a rate.
func (r *Rates) set(hosts []Host, to string, bits float64) {
	for _, h := range hosts {
		for _, l := range h.way(to) {
			name := lawName(workFetch, l)
			r.Laws[name] = fixed(r.named(name).Coef, bits/8)
		}
	}
}

// fixed returns the law of a link with a rate that is given, not measured. What
// a request costs stays as it was.
func fixed(old []float64, bytes float64) Law {
	c := []float64{0, 1 / bytes}
	if len(old) > 0 {
		c[0] = old[0]
	}
	const often = 1000 // measurements, after which next to no spread is left
	return Law{Gram: []float64{math.Max(c[0], 1e-9), 0, 0, 1 / bytes}, Moment: make([]float64, 2), Coef: c, Weight: often, Count: often}
}
