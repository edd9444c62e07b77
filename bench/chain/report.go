package main

import (
	"fmt"
	"slices"
)

// report prints the medians, and what the goals are made of.
func (b *bench) report(all map[string][]record) {
	fmt.Fprintf(b.out, "\n| arm | N | runs | median s | least | most | eta | CPU s per GB and hop |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, a := range b.arms {
		rs := all[a.name]
		if len(rs) == 0 {
			fmt.Fprintf(b.out, "| %s | %d | 0 of %d ended | | | | | |\n", a.name, a.hosts(b), b.rounds)
			continue
		}
		seconds := column(rs, func(r record) float64 { return r.Seconds })
		m := middle(seconds)
		fmt.Fprintf(b.out, "| %s | %d | %d of %d | %.2f | %.2f | %.2f | %.3f | %.2f |\n", a.name, rs[0].N, len(rs), b.rounds, m, seconds[0], seconds[len(seconds)-1],
			float64(b.size)/b.goods/m, b.cost(rs))
	}
	b.goals(all)
}

// cost is CPU seconds per GB and hop, the median.
func (b *bench) cost(rs []record) float64 {
	if len(rs) == 0 {
		return 0
	}
	return middle(column(rs, func(r record) float64 { return r.CPU })) / float64(rs[0].N) / (float64(b.size) / 1e9)
}

// goals prints what is compared with what was asked for.
func (b *bench) goals(all map[string][]record) {
	time := func(arm string) float64 {
		if len(all[arm]) == 0 {
			return 0
		}
		return middle(column(all[arm], func(r record) float64 { return r.Seconds }))
	}
	fmt.Fprintf(b.out, "\n| what | measured | asked |\n| --- | --- | --- |\n")
	ours := time("ore")
	if ours == 0 {
		return
	}
	say := func(what, form string, v float64, asked string, known ...float64) {
		if !slices.Contains(known, 0) {
			fmt.Fprintf(b.out, "| %s | "+form+" | %s |\n", what, v, asked)
		}
	}
	say("eta", "%.3f", float64(b.size)/b.goods/ours, ">= 0.93 at N = 16, 0.90 at N = 64")
	say("T(N)/T(1)", "%.3f", ours/time("ore1"), "<= 1.05", time("ore1"))
	for _, a := range b.arms {
		switch a.name {
		case "nc", "star", "rsync", "udpcast", "udpcastcap", "uftp", "aria2":
			asked := ">= 1 x"
			if a.name == "star" && b.hosts == 16 {
				asked = ">= 14 x"
			}
			say(a.name+" against ours", "%.2f x", time(a.name)/ours, asked, time(a.name))
		}
	}
	say("one ten times slower: the others, against undisturbed", "%.3f x", time("oreslow")/ours, "<= 1.05 x", time("oreslow"))
	say("a death costs the others", "%.2f s", time("oredeath")-ours, "<= 0.5 s", time("oredeath"))
	say("CPU s per GB and hop, against nc + tee", "%.2f x", b.cost(all["ore"])/b.cost(all["nc"]), "<= 1.3 x", b.cost(all["nc"]))
}

// middle is the median of sorted numbers.
func middle(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
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
