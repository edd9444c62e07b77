package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"ore"
	"ore/plan"
)

// Spreads are relative deviations of one run from another. Those of cores,
// starts and links are from this project's own benchmarks (bench/results): cold
// builds differ by 2 to 7 %, starts of one machine by 7 to 18 %, of 16 by 12 %.
const (
	spreadRun   = 0.04 // of all that a host does in one run
	spreadTask  = 0.10 // of one task
	spreadStart = 0.10 // of starting machines in one run
	spreadBoot  = 0.15 // of one machine
	spreadLink  = 0.05 // of a link in one run
	spreadFlow  = 0.10 // of a link from one moment to the next
)

// archive is all packages that there are.
type archive struct {
	packages []ore.Package
	truth    map[string]truth // by name
}

// truth is what a package really costs on the reference host, in seconds of one
// core, and what it brings.
type truth struct {
	decode, put, configure, seal float64
	remove                       float64 // against the usual package
	bytes                        float64 // of its part of a layer
	scripts                      int
	programs                     int // that scripts call when it is removed
}

// basePackages is how many packages the base set has.
const basePackages = 95

// newArchive makes packages like Debian's: sizes and what scripts take are
// spread over orders of magnitude.
func newArchive(rng *rand.Rand, n int) archive {
	a := archive{truth: map[string]truth{}}
	for i := range n {
		size := math.Exp(rng.NormFloat64()*1.4 + math.Log(90e3))
		p := ore.Package{
			Name: fmt.Sprintf("p%04d", i), Version: "1", Arch: "amd64", Size: int64(size) + 1000, Base: i < basePackages,
			Digest: ore.Digest(fmt.Sprintf("sha256:%064d", i)),
		}
		t := truth{
			decode:  size * 5.5e-8 * vary(rng, 0.25),
			put:     size*4e-9 + 20e-6*size/6e3*vary(rng, 0.4),
			seal:    size * 1.5e-8 * vary(rng, 0.2),
			bytes:   size * 1.15 * vary(rng, 0.1),
			scripts: 1,
		}
		// Two thirds of packages have next to nothing to configure; a few compile.
		t.configure = 0.006
		if rng.Float64() < 0.35 {
			t.scripts = 2
			t.configure += math.Exp(rng.NormFloat64()*0.9 + math.Log(0.05))
		}
		t.remove, t.programs = removal(i, t.scripts)
		a.packages = append(a.packages, p)
		a.truth[p.Name] = t
	}
	return a
}

// What 237 packages of Debian 12 took when dpkg purged them one after the other: the
// 154 whose scripts call no program 0.31 s in the mean, the others 2.3 s. Among these,
// the logarithm of the time and that of how many programs are called, in the mean of 9,
// with a spread of 1, have a correlation of 0.61. The host was busy, without which it
// would be more.
const (
	programsUsual  = 9
	programsSpread = 1.0
	programsTell   = 0.61
)

// removal draws how much longer than the usual package number i takes to remove.
// Sixteen packages of Debian 12 took 34 ms (tree) to 5.6 s (openssh-server), the
// half of them that stop services or call other programs seven times as long as
// the other half. It returns how many programs are called as well, which tells a
// part of it.
func removal(i, scripts int) (times float64, programs int) {
	own := rand.New(rand.NewPCG(uint64(i), 1)) // so that all else is drawn as it was without
	t := 0.8 * vary(own, 0.3)
	if scripts > 1 {
		much := own.NormFloat64()
		t *= math.Exp(much*0.8 + math.Log(4))
		told := programsTell*much + math.Sqrt(1-programsTell*programsTell)*own.NormFloat64()
		programs = max(1, int(math.Round(programsUsual*math.Exp(programsSpread*told))))
	}
	return t, programs
}

// pick draws n packages beside the base set, popular ones more often.
func (a archive) pick(rng *rand.Rand, n int) []ore.Package {
	rest := a.packages[basePackages:]
	seen := map[int]bool{}
	for len(seen) < min(n, len(rest)) {
		u := rng.Float64()
		seen[int(float64(len(rest))*u*u)] = true
	}
	var all []ore.Package
	for i := range rest {
		if seen[i] {
			all = append(all, rest[i])
		}
	}
	return all
}

// environment closes a set with the base's packages.
func (a archive) environment(rest []ore.Package) ore.Environment {
	env := ore.Environment{Packages: append(slices.Clone(a.packages[:basePackages]), rest...)}
	return env
}

// site is a place with hosts that are alike and what it is like in truth.
type site struct {
	archive
	cores  int
	speed  float64 // of a core, 1 is the reference
	spawn  float64 // seconds until a worker works
	boot   float64 // of a core, for a machine
	wait   float64 // of a machine's start that needs no core
	kexec  float64 // seconds to start again
	delay  float64 // seconds of a request over a link
	remove float64 // of the usual package
}

func newSite(rng *rand.Rand, a archive, cores int) site {
	return site{
		archive: a, cores: cores, speed: math.Exp(rng.NormFloat64() * 0.4),
		spawn: 0.15 * vary(rng, 0.2), boot: 0.2 * vary(rng, 0.3), wait: 0.25 * vary(rng, 0.3),
		kexec: 0.6 * vary(rng, 0.3), delay: math.Exp(rng.NormFloat64()*0.8 + math.Log(0.004)), remove: 0.06 * vary(rng, 0.3),
	}
}

// removal is what removing p takes on a core.
func (s site) removal(p ore.Package) float64 { return s.remove * s.truth[p.Name].remove }

// point is one question to the plan.
type point struct {
	name  string
	site  site
	ask   plan.Ask
	have  plan.Have
	links map[string]float64 // true rates, bytes in a second
	load  float64            // of every host
}

// mbit draws a rate between two, in Mbit/s, evenly over orders of magnitude, and
// returns bytes.
func mbit(rng *rand.Rand, low, high float64) float64 {
	return math.Exp(math.Log(low)+rng.Float64()*(math.Log(high)-math.Log(low))) * 1e6 / 8
}

// newPoint draws a question over the whole range: size, machines, links from 0.5
// to 1000 Mbit/s, overlap, load.
func (s site) newPoint(rng *rand.Rand) point {
	p := point{site: s, links: map[string]float64{}}
	rest := s.pick(rng, int(math.Exp(math.Log(4)+rng.Float64()*math.Log(75))))
	machines := 1 << rng.IntN(9)
	hosts := min(machines, 1<<rng.IntN(6))
	if rng.IntN(3) > 0 {
		p.load = rng.Float64() * 2 * float64(s.cores)
	}
	// Links have names of their own, since nothing is known of a new one.
	p.name = fmt.Sprintf("%x", rng.Uint32())
	p.links["cache-"+p.name], p.links["mirror-"+p.name] = mbit(rng, 0.5, 1000), mbit(rng, 0.5, 1000)
	peers := mbit(rng, 50, 1000)
	p.ask = plan.Ask{
		Environment: s.environment(rest), Machines: machines, Chain: rng.IntN(2) == 0, Superset: rng.IntN(2) == 0,
		Each: machines <= 32 && rng.IntN(2) == 0, Starts: []string{"uml"}, Restarts: []string{"kexec"},
	}
	for i := range hosts {
		h := plan.Host{Name: fmt.Sprintf("h%02d", i), Cores: s.cores, Load: p.load}
		h.Links = map[string][]string{"cache": {"cache-" + p.name}, plan.Mirror: {"mirror-" + p.name}, plan.Peers: {"peer-" + p.name + " " + h.Name}}
		p.links[h.Links[plan.Peers][0]] = peers
		p.ask.Hosts = append(p.ask.Hosts, h)
	}
	p.stock(rng, rest)
	return p
}

// stock draws what exists.
func (p *point) stock(rng *rand.Rand, rest []ore.Package) {
	s := p.site
	base := plan.Layer{Digest: "sha256:base", Size: s.layer(s.packages[:basePackages])}
	p.have = plan.Have{Debs: map[ore.Digest]bool{}, Packs: map[ore.Digest]bool{}, Weights: map[ore.Digest]plan.Weight{}}
	debs, packs := rng.Float64(), rng.Float64()*0.7
	for _, pkg := range p.ask.Environment.Packages {
		switch u := rng.Float64(); {
		case u < packs || pkg.Base && u < 0.9:
			p.have.Packs[pkg.Digest] = true
			p.have.Weights[pkg.Digest] = s.weight(pkg)
		case rng.Float64() < debs:
			p.have.Debs[pkg.Digest] = true
		}
	}
	if p.have.Base = rng.IntN(10) > 0; p.have.Base {
		p.have.BaseLayer.Digest, p.have.BaseLayer.Size = base.Digest, base.Size
		for i := range p.ask.Hosts {
			if i > 0 && rng.IntN(3) > 0 {
				p.ask.Hosts[i].Holds = map[ore.Digest]int64{base.Digest: base.Size}
			}
		}
	} else {
		base.Fetch = base.Size
	}
	if rng.IntN(2) == 0 {
		p.have.Candidates = append(p.have.Candidates, p.candidate(rng, rest, "", base))
	}
	if rng.IntN(2) == 0 {
		p.have.Candidates = append(p.have.Candidates, p.candidate(rng, rest, "cache", base))
	}
	if rng.IntN(5) > 1 {
		size := s.layer(rest)
		fetch := int64(float64(size) * (1 - 0.6*rng.Float64()*rng.Float64()))
		p.have.Candidates = append(p.have.Candidates, plan.Candidate{At: "cache", Files: true,
			Layers: []plan.Layer{base, {Digest: "sha256:rest", Size: size, Fetch: fetch}}})
	}
}

// candidate draws an image that shares packages with rest.
func (p *point) candidate(rng *rand.Rand, rest []ore.Package, at string, base plan.Layer) plan.Candidate {
	c := plan.Candidate{At: at, Files: true}
	overlap := rng.Float64()
	var has []ore.Package
	for _, pkg := range rest {
		if rng.Float64() < overlap {
			has = append(has, pkg)
		} else {
			c.Missing = append(c.Missing, pkg)
		}
	}
	for _, pkg := range p.site.pick(rng, rng.IntN(1+len(rest)/3)) {
		if !slices.ContainsFunc(rest, func(q ore.Package) bool { return q.Name == pkg.Name }) {
			c.Extra = append(c.Extra, pkg)
		}
	}
	p.weigh(c)
	size := p.site.layer(append(has, c.Extra...))
	l := plan.Layer{Digest: ore.Digest("sha256:candidate" + at), Size: size}
	if at != "" {
		l.Fetch = size
	}
	c.Layers = []plan.Layer{base, l}
	return c
}

// keptPacks is the share of what went into an image here that is still kept decoded.
const keptPacks = 0.9

// weigh has the store know scripts of packages that a candidate has too much: what
// is in an image here was decoded here, but for what has been deleted since; of
// what is in a cache elsewhere, the host may have nothing.
func (p *point) weigh(c plan.Candidate) {
	for _, pkg := range c.Extra {
		own := rand.New(rand.NewPCG(uint64(pkg.Size), uint64(len(c.Extra)))) // so that all else is drawn as it was without
		if c.At == "" && own.Float64() < keptPacks {
			p.have.Weights[pkg.Digest] = p.site.weight(pkg)
		}
	}
}

// weight is what the scripts of a package say.
func (a archive) weight(p ore.Package) plan.Weight {
	t := a.truth[p.Name]
	return plan.Weight{Scripts: t.scripts, Programs: t.programs}
}

// layer returns the size of a layer with the packages in it.
func (a archive) layer(packages []ore.Package) int64 {
	var b float64
	for _, p := range packages {
		b += a.truth[p.Name].bytes
	}
	return int64(b)
}
