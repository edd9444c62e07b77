// Package replay plays traces of requests for images against policies of
// eviction, and adds up the seconds that each saves. It exists to choose a
// policy and to hold it to its promise; nothing at a site uses it.
//
// # What is modelled
//
// Environments belong to families, as those of a laboratory do: all share the
// base layer, those of a family most often a layer of the family's packages, and
// each has a layer of its own. Sizes and build times are spread as widely as in
// life, from a small tool to one whose steps compile for minutes. A request for an
// image that is kept costs nothing, one for an image that is not its build. Seconds
// saved are counted against a site that keeps the base image alone.
//
// A build begins at the base, as in a cache that knows exact matches only, for
// which the peers were made; or at whatever kept image leaves the least work, so
// that a policy is judged on what it keeps for partial matches as well. In that case
// all policies save most of what can be saved: one that knows the true popularity
// of everything is only 13 % better than GDSF on the first trace, against 25 % in
// the case of exact matches.
//
// The room is a tenth of the footprint, the sum of all layers that the trace ever
// asks for. A layer that several images have is counted once, for every policy.
package replay

import (
	"math"
	"math/rand/v2"
)

// Environment is one that requests ask for.
type Environment struct {
	Family int
	Layers []int   // places in World.Layers, lowest first; without the base
	Stack  float64 // seconds for the packages of the family
	Own    float64 // seconds for what it has alone
}

// World is what can be asked for.
type World struct {
	Environments []Environment
	Layers       []int64 // sizes in bytes
}

// Share is the part of the footprint that there is room for.
const Share = 0.1

// Shape says what a world and its requests are like.
type Shape struct {
	Name         string
	Environments int
	Families     int
	Requests     int
	Zipf         float64 // exponent of the popularity by rank
	DriftEvery   int     // requests after which some ranks change places; 0 for never
	DriftShare   float64 // of the environments that change places
	BurstEvery   int     // a burst begins after about so many requests; 0 for never
	BurstLength  int     // requests in a burst
	Once         float64 // share of requests for environments that never come again
}

// Shapes are the traces that a policy must do well on.
func Shapes() []Shape {
	return []Shape{
		{Name: "zipf", Environments: 1500, Families: 60, Requests: 8000, Zipf: 0.9, Once: 0.05},
		{Name: "drift", Environments: 1500, Families: 60, Requests: 8000, Zipf: 0.9, DriftEvery: 1000, DriftShare: 0.1, Once: 0.05},
		{Name: "bursts", Environments: 1500, Families: 60, Requests: 8000, Zipf: 0.8, BurstEvery: 150, BurstLength: 40, Once: 0.05},
		{Name: "all", Environments: 1500, Families: 60, Requests: 8000, Zipf: 0.9, DriftEvery: 1500, DriftShare: 0.1, BurstEvery: 300, BurstLength: 40, Once: 0.1},
	}
}

// Trace draws a world and the environments that are asked for, in order.
func (s Shape) Trace(seed uint64) (World, []int) {
	r := rand.New(rand.NewPCG(seed, 77))
	w := s.world(r)
	weights := make([]float64, s.Environments) // of rank
	total := 0.0
	for i := range weights {
		total += 1 / math.Pow(float64(i+1), s.Zipf)
		weights[i] = total
	}
	rank := r.Perm(s.Environments) // rank to environment
	once := s.Environments         // the next that comes once
	var trace []int
	burst, left := 0, 0
	for len(trace) < s.Requests {
		n := len(trace)
		if s.DriftEvery > 0 && n > 0 && n%s.DriftEvery == 0 {
			drift(r, rank, s.DriftShare)
		}
		if s.BurstEvery > 0 && left == 0 && r.IntN(s.BurstEvery) == 0 {
			burst, left = r.IntN(s.Environments), s.BurstLength
		}
		switch {
		case r.Float64() < s.Once:
			trace = append(trace, once)
			once++
			w.Environments = append(w.Environments, w.environment(r, r.IntN(s.Families)))
		case left > 0 && r.IntN(2) == 0: // a burst is half of what is asked meanwhile
			trace = append(trace, burst)
			left--
		default:
			trace = append(trace, rank[pick(weights, r.Float64()*total)])
		}
	}
	return w, trace
}

// drift makes some environments change places with the most popular ones'.
func drift(r *rand.Rand, rank []int, share float64) {
	for range int(share * float64(len(rank))) {
		i, j := int(math.Abs(r.NormFloat64())*float64(len(rank))/8), r.IntN(len(rank))
		i = min(i, len(rank)-1)
		rank[i], rank[j] = rank[j], rank[i]
	}
}

func pick(sums []float64, at float64) int {
	low, high := 0, len(sums)-1
	for low < high {
		if mid := (low + high) / 2; sums[mid] < at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// world draws families, whose layers come first, and environments.
func (s Shape) world(r *rand.Rand) World {
	var w World
	for range s.Families {
		w.Layers = append(w.Layers, spread(r, 60<<20, 1.0))
	}
	for range s.Environments {
		w.Environments = append(w.Environments, w.environment(r, r.IntN(s.Families)))
	}
	return w
}

// unpackRate is the bytes of a compressed layer that a host fetches, unpacks,
// configures and seals in a second.
const unpackRate = 8 << 20

// environment draws one of a family. A fifth of them have steps that take long
// and leave little, as compiling does.
func (w *World) environment(r *rand.Rand, family int) Environment {
	own := spread(r, 15<<20, 1.2)
	w.Layers = append(w.Layers, own)
	e := Environment{
		Family: family, Layers: []int{family, len(w.Layers) - 1},
		Stack: float64(w.Layers[family]) / unpackRate,
		Own:   0.4 + float64(own)/unpackRate,
	}
	if r.IntN(5) == 0 {
		e.Own += math.Exp(r.NormFloat64()*1.0 + math.Log(30))
	}
	return e
}

// spread draws from a log-normal distribution.
func spread(r *rand.Rand, median float64, sigma float64) int64 {
	return int64(median * math.Exp(r.NormFloat64()*sigma))
}
