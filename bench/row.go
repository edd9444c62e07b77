package main

import (
	"context"
	"fmt"
	"math"
	"slices"

	"ore/plan"
)

// The names of contestants, as raw rows have them.
const (
	oreCold      = "ore build, cold"
	oreSeen      = "ore build, seen"
	mmdebstrap   = "mmdebstrap + mksquashfs"
	oreMount     = "ore root mounted"
	oreOne       = "ore run -n 1"
	stockOne     = "stock boot"
	oreSixteen   = "ore run -n 16"
	oreBlast     = "ore run -n 16 blastp"
	stockMany    = "16 stock boots"
	oreResident  = "ore resident, n 16"
	oreUpdate    = "ore update"
	changedFiles = "changed files"
	casync       = "casync update"

	oreBase        = "ore build, base here"
	oreOverlap     = "ore build, overlap here"
	keptTree       = "kept tree + apt-get"
	candidatesCold = "candidates, cold"
	candidatesWarm = "candidates, warm"
	planMany       = "plan for 256 hosts"
	evictLRU       = "eviction / LRU"
	evictGDSF      = "eviction / GDSF"
	oreTree        = "install, cached tree"
	orePackages    = "install, packages"
)

// contestant is one thing that is measured once a round.
type contestant struct {
	name    string
	prepare func(context.Context, *bench) error
	run     func(context.Context, *bench, int) error
}

// kind says how a row is judged.
type kind int

const (
	faster kind = iota // the peer's median over ours, at least
	share              // our median over the peer's, at most
	limit              // our statistic, at most
	floor              // our statistic, at least
)

// row is one line of the table of promises.
type row struct {
	name, title      string
	ours, peer       string
	kind             kind
	atLeast, towards float64
	unit             string                  // "" for seconds
	statistic        func([]float64) float64 // of a limit
}

func rows() []row {
	return []row{
		{name: "cold", title: "cold build to a verified image, packages fetched, nothing decoded", ours: oreCold, peer: mmdebstrap, kind: faster, atLeast: 3, towards: 4},
		{name: "seen", title: "all packages seen before, in another combination", ours: oreSeen, peer: mmdebstrap, kind: faster, atLeast: 8, towards: 12},
		{name: "mount", title: "image on the host -> private root mounted, 0.1 to 2 GB, p95", ours: oreMount, kind: limit, atLeast: 50, towards: 20, unit: "ms", statistic: p95},
		{name: "run1", title: "ore run -n 1 -- true", ours: oreOne, peer: stockOne, kind: share, atLeast: 0.40, towards: 0.25},
		{name: "run16", title: "ore run -n 16 -- true", ours: oreSixteen, peer: stockMany, kind: share, atLeast: 0.35, towards: 0.22},
		{name: "blast16", title: "ore run -n 16 -- blastp -version", ours: oreBlast, peer: stockMany, kind: share, atLeast: 0.9, towards: 0.6},
		{name: "memory", title: "resident memory of ore with 16 machines, most of all rounds", ours: oreResident, kind: limit, atLeast: 150, towards: 80, unit: "MB", statistic: slices.Max[[]float64]},
		{name: "update", title: "bytes to bring a host up to date after one package changed, against the changed files alone", ours: oreUpdate, peer: changedFiles, kind: share, atLeast: 1.15, towards: 1.05, unit: "MB"},
		{name: "casync", title: "the same against casync", ours: oreUpdate, peer: casync, kind: share, atLeast: 0.5, towards: 0.3, unit: "MB"},
		{name: "partial", title: "base cached, ncbi-blast+ asked for: request to verified image, against mmdebstrap from nothing", ours: oreBase, peer: mmdebstrap, kind: faster, atLeast: 10, towards: 20},
		{name: "unpack", title: "the same against unpacking a kept tree, chroot, apt-get install", ours: oreBase, peer: keptTree, kind: faster, atLeast: 3, towards: 5},
		{name: "overlap", title: "an overlapping image cached, against mmdebstrap from nothing", ours: oreOverlap, peer: mmdebstrap, kind: faster, atLeast: 10, towards: 20},
		{name: "overlap-unpack", title: "the same against unpacking a kept tree, chroot, apt-get install", ours: oreOverlap, peer: keptTree, kind: faster, atLeast: 3, towards: 5},
		{name: "install", title: "a machine's install onto its disk, ncbi-blast+: from a cached tree, against from packages", ours: oreTree, peer: orePackages, kind: faster, atLeast: 3, towards: 4},
		{name: "candidates", title: "candidates among 10,000 images of 300 packages, in a new process, p99", ours: candidatesCold, kind: limit, atLeast: 5, towards: 1, unit: "ms", statistic: median},
		{name: "candidates-warm", title: "the same in a process that has asked before, p99", ours: candidatesWarm, kind: limit, atLeast: 5, towards: 1, unit: "ms", statistic: median},
		{name: "plan256", title: "plan for 256 machines on 256 hosts, 400 packages, 8 candidates", ours: planMany, kind: limit, atLeast: 20, towards: 5, unit: "ms", statistic: median},
		{name: "eviction", title: "seconds saved by eviction, over LRU, on the trace where that is least", ours: evictLRU, kind: floor, atLeast: 1.4, towards: 1.6, unit: "x", statistic: median},
		{name: "eviction-gdsf", title: "the same over GDSF", ours: evictGDSF, kind: floor, atLeast: 1.1, towards: 1.2, unit: "x", statistic: median},
	}
}

// contestants returns those of the rows, each once.
func contestants(chosen []row) []contestant {
	all := []contestant{
		{oreCold, prepareCold, runCold},
		{mmdebstrap, prepareMmdebstrap, runMmdebstrap},
		{oreSeen, prepareSeen, runSeen},
		{oreMount, prepareMount, runMount},
		{oreOne, prepareRun, runOne},
		{stockOne, prepareStock, runStock},
		{oreSixteen, prepareRun, runSixteen},
		{stockMany, prepareStock, runStockMany},
		{oreBlast, prepareRun, runBlast},
		{oreResident, prepareRun, runResident},
	}
	all = append(all,
		contestant{oreBase, prepareBase, runFrom(oreBase, "base")},
		contestant{oreOverlap, prepareOverlap, runFrom(oreOverlap, "overlap")},
		contestant{keptTree, prepareKeptTree, runKeptTree},
		contestant{oreTree, prepareInstall(plan.FromImage), runInstall(oreTree, plan.FromImage)},
		contestant{orePackages, prepareInstall(plan.FromPackages), runInstall(orePackages, plan.FromPackages)},
	)
	all = append(all, updateContestants()...)
	all = append(all, goContestants()...)
	all = append(all, evictionContestants()...)
	return slices.DeleteFunc(all, func(c contestant) bool {
		return !slices.ContainsFunc(chosen, func(r row) bool { return r.ours == c.name || r.peer == c.name })
	})
}

// verdict is what came of a row.
type verdict struct {
	ours, peer float64 // medians, or our statistic
	value      float64 // what is held against the limits
	met        bool    // at least
	reached    bool    // towards
}

// judge holds samples against the row.
func (r row) judge(ours, peer []float64) (verdict, error) {
	if len(ours) == 0 || r.peer != "" && len(peer) == 0 {
		return verdict{}, fmt.Errorf("row %s: nothing was measured", r.name)
	}
	var v verdict
	switch r.kind {
	case faster:
		v.ours, v.peer = median(ours), median(peer)
		v.value = v.peer / v.ours
		v.met, v.reached = v.value >= r.atLeast, v.value >= r.towards
	case share:
		v.ours, v.peer = median(ours), median(peer)
		v.value = v.ours / v.peer
		v.met, v.reached = v.value <= r.atLeast, v.value <= r.towards
	case limit:
		v.ours = r.statistic(ours)
		v.value = v.ours
		v.met, v.reached = v.value <= r.atLeast, v.value <= r.towards
	case floor:
		v.ours = r.statistic(ours)
		v.value = v.ours
		v.met, v.reached = v.value >= r.atLeast, v.value >= r.towards
	}
	return v, nil
}

// median of at least one value.
func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// p95 is the smallest value that at least 95 of 100 do not exceed.
func p95(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return s[int(math.Ceil(0.95*float64(len(s))))-1]
}
