package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"ore"
)

// Way names how an image comes to be.
type Way string

// The ways.
const (
	Exact    Way = "exact"    // an image of this very environment is here
	Fetched  Way = "fetched"  // a cache has it
	Superset Way = "superset" // an image with more than was asked is taken as it is
	Delta    Way = "delta"    // the base image exists: install the rest over it
	Partial  Way = "partial"  // install what another image lacks, remove what it has too much
	Clean    Way = "clean"    // install everything
)

// Distribution is how an image reaches the other hosts.
type Distribution string

// The distributions.
const (
	None   Distribution = "none"   // one host, or each machine installs itself
	Direct Distribution = "direct" // all hosts fetch from where the image is
	Chain  Distribution = "chain"  // each host passes it on to the next
)

// Stage names, also those of the timeline where it has them.
const (
	Fetch      = "fetch"    // packages from the mirror
	Pull       = "pull"     // layers from a cache
	Register   = "register" // what has come from a cache
	Restore    = "restore"  // the tree that packages are installed over
	Unpack     = "unpack"
	Remove     = "remove"
	Configure  = "configure"
	Seal       = "seal"
	Steps      = "steps"
	Distribute = "distribute"
	Start      = "start"
	Restart    = "restart" // of machines that installed themselves
)

// Term is work of one law: its seconds are the law's for the amounts, times how
// much longer it takes because others want the cores, too.
type Term struct {
	Law     string
	Amounts []float64
	Doubt   float64 `json:",omitempty"` // seconds that what was never measured may take more or less, beside the law's spread
	Threads int     `json:",omitempty"` // that one piece of this work runs in; 0: it needs no core
	Copies  int     `json:",omitempty"` // how many such pieces run on the host at once
	Cores   int     `json:",omitempty"` // of the host
	Share   float64 `json:",omitempty"` // times as long as alone, by the load at the time of the plan
}

// ShareUnder returns how many times as long as alone a piece of the work takes beside
// its copies and load threads of others. The cores are shared by all threads
// alike, and a thread uses one at most.
func (t Term) ShareUnder(load float64) float64 {
	if t.Threads == 0 {
		return 1
	}
	own, cores := float64(t.Threads), float64(max(1, t.Cores))
	return max(1, min(own, cores)*(own*float64(max(1, t.Copies))+max(0, load))/(cores*own))
}

// on returns the term as work on a host in so many threads, and so many times.
func (t Term) on(h Host, threads, copies int) Term {
	t.Threads, t.Copies, t.Cores = threads, max(1, copies), h.cores()
	t.Share = t.ShareUnder(h.Load)
	return t
}

// Times returns how many times the law's seconds the term takes.
func (t Term) Times() float64 {
	if t.Share == 0 {
		return 1
	}
	return t.Share
}

// Estimate is the predicted work and time of one stage.
type Estimate struct {
	Stage    string
	Note     string  `json:",omitempty"` // which part of the work, or what runs beside it
	Work     float64 // in Unit, for people
	Unit     string
	Branches [][]Term // run side by side, each one term after another
	Draws    int      `json:",omitempty"` // how many hosts or links do this at once; the last one counts
	Joint    float64  `json:",omitempty"` // the share of lateness that counts where other stages are late too, see jointly; 0: all
	Late     float64  `json:",omitempty"` // how much later than one the last is expected, relatively
	Seconds  Range    // of what is known
	Known    bool     // whether everything in it was ever measured

	// Guessed has the seconds of parts that were never measured, by name, which are
	// in the amounts: what is usual for their kinds, 0 where nothing is yet.
	Guessed map[string]float64 `json:"-"`
}

// Traffic is bytes over one link.
type Traffic struct {
	Link  string
	Bytes int64
}

// Option is one way with its predicted stages, or the reason why it is none.
type Option struct {
	Way          Way
	Candidate    int          // in Have.Candidates, -1 if none is used
	From         ore.Key      `json:",omitempty"` // of the image that it begins with
	At           string       `json:",omitempty"` // the cache that has it, "" when it is here
	Each         bool         `json:",omitempty"` // machines install themselves; else the image is made once
	Strategy     string       `json:",omitempty"` // of machines with disks of their own, see Ask.Disk
	Distribution Distribution `json:",omitempty"`
	Start        string       `json:",omitempty"` // the way to start machines
	Possible     bool         // could be taken
	Why          string       // why it was not chosen, "" for the one that was
	Stages       []Estimate
	Total        Range
	Known        bool          // whether all stages are
	Install      []ore.Package // what this way has to install
	Remove       []ore.Package // what it has to remove
	Steps        []ore.Step    `json:",omitempty"` // that it has to run
	Links        []Traffic     // by name
	Fetch        int64         // bytes from the mirror

	rank    float64 // seconds to compare by: unknown work has its price in it
	unknown map[string]float64
}

// Plan is a decision: the options, the chosen first, then the runner-up, and
// those that are none last.
type Plan struct {
	Key     ore.Key
	Options []Option
	Notes   []string              `json:",omitempty"` // what changes nothing of what was supposed
	Weights map[ore.Digest]Weight `json:"-"`          // Have's, by which runs teach what is usual
	Links   map[string]LinkTry    `json:"-"`          // Have's, see Rates.Asked
}

// Chosen returns the option to take.
func (p Plan) Chosen() Option { return p.Options[0] }

// RunnerUp returns the next best option, if there is one.
func (p Plan) RunnerUp() (Option, bool) {
	if len(p.Options) < 2 || !p.Options[1].Possible {
		return Option{}, false
	}
	return p.Options[1], true
}

// Choose decides how to make the image of what is asked and to start machines
// with it. There is always an option: the clean way needs nothing that exists.
func Choose(ask Ask, have Have, rates Rates) Plan {
	m := newModel(ask, have, rates)
	var options, none []Option
	for _, w := range m.ways() {
		if w.why != "" {
			none = append(none, Option{Way: w.way, Candidate: w.candidate, From: w.from, At: w.at, Why: w.why})
			continue
		}
		options = append(options, m.options(w)...)
	}
	price(options)
	slices.SortStableFunc(options, func(a, b Option) int { return cmp.Compare(a.rank, b.rank) })
	provenFirst(options)
	for i := range options[1:] {
		options[i+1].Why = behind(options[0], options[i+1])
	}
	return Plan{Key: ask.Environment.Key(), Options: append(options, none...), Weights: have.Weights, Links: have.Links}
}

// price gives each option the seconds to compare by. Work of a law that nobody
// has measured costs, where there is most of it, as much as the dearest known
// option, and in proportion elsewhere: what all options must do alike then
// decides nothing, and less unknown work is better. With nothing known at all
// this leaves the comparison of work.
func price(options []Option) {
	var dearest float64
	most := map[string]float64{}
	for _, o := range options {
		dearest = max(dearest, o.Total.Middle)
		for law, n := range o.unknown {
			most[law] = max(most[law], n)
		}
	}
	if dearest == 0 {
		dearest = 1
	}
	for i := range options {
		o := &options[i]
		o.rank = o.Total.Middle
		for _, law := range slices.Sorted(maps.Keys(o.unknown)) {
			o.rank += dearest * o.unknown[law] / most[law]
		}
	}
}

func behind(best, o Option) string {
	if o.daring() > best.daring() {
		return "machines have never installed themselves by it here: --install-from " + o.Strategy + " tries it"
	}
	if maps.Equal(best.unknown, o.unknown) { // what is not known is the same in both
		s := fmt.Sprintf("predicted %.1f s later", o.Total.Middle-best.Total.Middle)
		if o.Total.Low < best.Total.High {
			s += ", the ranges overlap"
		}
		return s
	}
	switch more, gone := len(o.Install)-len(best.Install), len(o.Remove)-len(best.Remove); {
	case more > 0:
		return fmt.Sprintf("installs %d packages more, and not all of its rates are known", more)
	case gone > 0:
		return fmt.Sprintf("removes %d packages more, and not all of its rates are known", gone)
	case o.rank > best.rank && !o.Known:
		return "some of its work was never measured here"
	}
	return "no better by what is known"
}
