package plan

import (
	"maps"
	"slices"
	"strings"
	"time"

	"ore"
)

// RatesVersion changes when the amounts of a law do; rates of another version
// are not used.
const RatesVersion = 4

// Kinds of work that have a law of their own on each host, with their amounts.
const (
	workFetch     = "fetch"     // over a link: requests, bytes
	workUnpack    = "unpack"    // runs, bytes of .debs to decode, bytes of .debs to put
	workRestore   = "restore"   // bytes of layers that are laid out as a tree
	workConfigure = "configure" // runs, seconds that the packages took before, scripts, bytes of .debs
	workRemove    = "removal"   // runs, seconds that the packages took before or those like them did, packages that nothing is known of
	workSeal      = "seal"      // runs, bytes of .debs whose files are sealed
	workRegister  = "register"  // images that came from elsewhere
	workSteps     = "steps"     // seconds that the steps took before, steps never seen
	// and those called start and restart, with a hypervisor: runs, machines for each core
)

// maxNames bounds what is remembered by name; a suite's usual environments have
// some thousand packages in all.
const maxNames = 8192

// weight is the share of a new measurement in what is remembered by name.
const weight = 0.3

// Rates is what a site has shown so far. The zero value knows nothing. Rates are
// a value: what learns returns another.
type Rates struct {
	Version int
	Laws    map[string]Law     // by kind of work and host, see lawName
	Names   map[string]float64 // seconds that the part of one package or step took, by its name
	Usual   map[string]Usual   `json:",omitempty"` // what parts of a kind took, see RemovalKind
	Layer   float64            // bytes of a layer for one byte of .debs; 0: never seen
	Width   float64            `json:",omitempty"` // times that ranges are as wide as laws have it, see Aim; 0 is 1
}

// lawName names the law of a kind of work on a host or a link. That of host ""
// is of all hosts together: a new host is judged by it.
func lawName(kind, place string) string { return kind + "@" + place }

// LinkLaw names the law of fetching over a link; its amounts are requests and bytes.
func LinkLaw(link string) string { return lawName(workFetch, link) }

// named returns the law to predict with for a name that lawName gave.
func (r *Rates) named(name string) Law {
	if l, ok := r.Laws[name]; ok {
		return l
	}
	return r.Laws[pool(name)]
}

// pool names the law of all places that a law's place is one of. Links have
// nothing in common, but for those between hosts.
func pool(name string) string {
	kind, place, _ := strings.Cut(name, "@")
	if kind == workFetch {
		to, _, _ := strings.Cut(place, " ")
		return lawName(kind, to)
	}
	return lawName(kind, "")
}

// clone returns rates of this version that share nothing with r.
func (r Rates) clone() Rates {
	if r.Version != RatesVersion {
		return Rates{Version: RatesVersion, Laws: map[string]Law{}, Names: map[string]float64{}, Usual: map[string]Usual{}}
	}
	r.Laws, r.Names, r.Usual = maps.Clone(r.Laws), maps.Clone(r.Names), maps.Clone(r.Usual)
	if r.Usual == nil {
		r.Usual = map[string]Usual{}
	}
	if r.Laws == nil {
		r.Laws = map[string]Law{}
	}
	if r.Names == nil {
		r.Names = map[string]float64{}
	}
	return r
}

// Measurement is one kind of work that was timed.
type Measurement struct {
	Law     string // its name in Rates.Laws
	Amounts []float64
	Took    time.Duration
}

// Learn returns r with measurements taken in.
func (r Rates) Learn(all ...Measurement) Rates {
	n := r.clone()
	for _, m := range all {
		n.learn(m.Law, m)
		if all := pool(m.Law); all != m.Law {
			n.learn(all, m)
		}
	}
	return n
}

func (r *Rates) learn(name string, m Measurement) {
	l := r.Laws[name]
	kind, _, _ := strings.Cut(name, "@")
	l.Bulk = bulk(kind)
	if l.Prior == nil {
		// What took so many seconds before is first expected to do so again.
		switch kind {
		case workConfigure:
			l = l.Calibrated([]float64{0, 1, 0, 0})
		case workSteps:
			l = l.Calibrated([]float64{1, 0})
		case workRemove:
			l = l.Calibrated([]float64{0, 1, 0})
		}
	}
	r.Laws[name] = l.Learn(m.Amounts, m.Took)
}

// Asked returns r with what asking showed of links of which nothing is known yet: what
// a request takes. It tells requests from bytes in the first that goes over such a link.
func (r Rates) Asked(links map[string]LinkTry) Rates {
	for name, l := range links {
		law := LinkLaw(name)
		if old, known := r.Laws[law]; !known || old.Count == 0 && old.Prior == nil {
			r = r.Learn(Measurement{Law: law, Amounts: []float64{1, 0}, Took: time.Duration(l.Request * float64(time.Second))})
		}
	}
	return r
}

// Remember returns r with the seconds that parts took by name, and with the
// bytes that a layer had for each byte of the packages in it (0: not known).
func (r Rates) Remember(took map[string]time.Duration, layer float64) Rates {
	n := r.clone()
	for name, t := range took {
		old, known := n.Names[name]
		switch {
		case known:
			n.Names[name] = old + weight*(t.Seconds()-old)
		default:
			n.Names[name] = t.Seconds()
		}
	}
	if excess := len(n.Names) - maxNames; excess > 0 {
		// The cheapest names are those that a prediction misses least.
		cheap := slices.SortedFunc(maps.Keys(n.Names), func(a, b string) int {
			switch {
			case n.Names[a] < n.Names[b]:
				return -1
			case n.Names[a] > n.Names[b]:
				return 1
			}
			return strings.Compare(a, b)
		})
		for _, name := range cheap[:excess] {
			delete(n.Names, name)
		}
	}
	switch {
	case layer > 0 && n.Layer > 0:
		n.Layer += weight * (layer - n.Layer)
	case layer > 0:
		n.Layer = layer
	}
	return n
}

// PackageName is the name by which Rates remember what configuring a package took.
func PackageName(name string) string { return "package " + name }

// RemovalName is the same for removing a package.
func RemovalName(name string) string { return "removal " + name }

// StepName is the same of a step, by its text, which may be long and nobody else's.
func StepName(run string) string { return "step " + string(ore.DigestOf([]byte(run))) }
