// Package plan decides by which way the image of an environment comes to be,
// and predicts how long each stage takes.
//
// It is pure: what is asked, what exists and the rates that this site has
// shown come in as values, and a [Plan] goes out. No time in seconds is written
// here. A rate that was never measured is zero; what depends on it is then
// predicted as unknown, and the ways are compared by the work that they need.
//
// The ways are, from the least work to the most: an image with the same key
// (exact); the base layer and what is missing (delta); everything from packages
// (clean). Every way not chosen is listed with the reason.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"ore"
	"ore/image"
)

// Way names how an image comes to be.
type Way string

// The ways.
const (
	Exact Way = "exact" // an image of this very environment exists
	Delta Way = "delta" // the base image exists: install the rest over it
	Clean Way = "clean" // install everything
)

// Stage names, also those of the timeline.
const (
	Fetch     = "fetch"
	Unpack    = "unpack"
	Configure = "configure"
	Seal      = "seal"
	Start     = "start"
)

// Have is what exists on this site that the environment could use.
type Have struct {
	Exact *image.Manifest     // the image of the environment's key
	Base  bool                // the layer of its base set
	Debs  map[ore.Digest]bool // packages whose .deb is on the host
	Packs map[ore.Digest]bool // packages that were decoded before
}

// Rates is what this site has shown so far, each as work done in a second; zero
// means never measured.
type Rates struct {
	Fetch     float64 // bytes of .debs from the mirror
	Decode    float64 // bytes of .debs decoded and unpacked
	Reuse     float64 // bytes of .debs unpacked that were decoded before
	Configure float64 // packages
	Seal      float64 // bytes of .debs whose files are sealed
	Start     float64 // machines
}

// Estimate is the predicted work and time of one stage.
type Estimate struct {
	Stage string
	Work  float64       // in the unit of the stage's rate
	Unit  string        // of Work, for people
	Time  time.Duration // 0 if Known is false
	Known bool          // whether the rate was ever measured
}

// Option is one way with its predicted stages, or the reason why it is none.
type Option struct {
	Way     Way
	Why     string // why it was not chosen, "" for the one that was
	Stages  []Estimate
	Install []ore.Package // what this way has to install
	Fetch   int64         // bytes over the link to the mirror
}

// Time returns the sum of the stages, and whether all of them are known.
func (o Option) Time() (total time.Duration, known bool) {
	known = true
	for _, s := range o.Stages {
		total += s.Time
		known = known && s.Known
	}
	return total, known
}

// Plan is a decision: the options, the chosen first.
type Plan struct {
	Key     ore.Key
	Options []Option
}

// Chosen returns the option to take.
func (p Plan) Chosen() Option { return p.Options[0] }

// Choose decides how to make env's image and start machines with it. There is
// always an option: the clean way needs nothing that exists.
func Choose(env ore.Environment, machines int, have Have, r Rates) Plan {
	options := []Option{
		exact(have),
		delta(env, have, r),
		clean(env, have, r),
	}
	for i := range options {
		if options[i].Why == "" {
			options[i].Stages = append(options[i].Stages, estimate(Start, float64(machines), "machines", r.Start))
		}
	}
	slices.SortStableFunc(options, func(a, b Option) int {
		if (a.Why == "") != (b.Why == "") {
			return cmp.Compare(len(a.Why), len(b.Why))
		}
		return compare(a, b)
	})
	for i := range options[1:] {
		if o := &options[i+1]; o.Why == "" {
			o.Why = behind(options[0], *o)
		}
	}
	return Plan{Key: env.Key(), Options: options}
}

// compare puts the faster way first, and where a time is not known, the one
// with less to install.
func compare(a, b Option) int {
	ta, ka := a.Time()
	tb, kb := b.Time()
	if ka && kb {
		return cmp.Compare(ta, tb)
	}
	return cmp.Compare(len(a.Install), len(b.Install))
}

func behind(best, o Option) string {
	tb, kb := best.Time()
	to, ko := o.Time()
	if kb && ko {
		return fmt.Sprintf("predicted %.1f s later", (to - tb).Seconds())
	}
	return fmt.Sprintf("installs %d packages more", len(o.Install)-len(best.Install))
}

func exact(have Have) Option {
	if have.Exact == nil {
		return Option{Way: Exact, Why: "no image with this key"}
	}
	return Option{Way: Exact}
}

func delta(env ore.Environment, have Have, r Rates) Option {
	if !have.Base {
		return Option{Way: Delta, Why: "no layer of the base set"}
	}
	var rest []ore.Package
	for _, p := range env.Packages {
		if !p.Base {
			rest = append(rest, p)
		}
	}
	return install(Delta, rest, have, r)
}

func clean(env ore.Environment, have Have, r Rates) Option {
	return install(Clean, env.Packages, have, r)
}

func install(w Way, packages []ore.Package, have Have, r Rates) Option {
	o := Option{Way: w, Install: packages}
	var decode, reuse float64
	for _, p := range packages {
		switch {
		case have.Packs[p.Digest]:
			reuse += float64(p.Size)
			continue
		case !have.Debs[p.Digest]:
			o.Fetch += p.Size
		}
		decode += float64(p.Size)
	}
	unpack := estimate(Unpack, decode, "bytes", r.Decode)
	again := estimate(Unpack, reuse, "bytes", r.Reuse)
	unpack.Work += again.Work
	unpack.Time += again.Time
	unpack.Known = unpack.Known && again.Known
	o.Stages = []Estimate{
		estimate(Fetch, float64(o.Fetch), "bytes", r.Fetch),
		unpack,
		estimate(Configure, float64(len(packages)), "packages", r.Configure),
		estimate(Seal, decode+reuse, "bytes", r.Seal),
	}
	return o
}

// estimate predicts a stage. No work takes no time, whatever the rate.
func estimate(stage string, work float64, unit string, rate float64) Estimate {
	e := Estimate{Stage: stage, Work: work, Unit: unit, Known: work == 0 || rate > 0}
	if work > 0 && rate > 0 {
		e.Time = time.Duration(work / rate * float64(time.Second))
	}
	return e
}
