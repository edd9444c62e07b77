package figures

import (
	"fmt"
	"slices"
	"strings"

	"ore/install/recipe"
)

// The arms, by name.
const (
	armPackages = "packages"
	armDirect   = "direct"
	armChain    = "chain"
	armSlow     = "slow"
)

// arm is one way for machines to come to their trees, and the figure that shows it.
type arm struct {
	name   string
	figure int
	title  string
	from   recipe.Strategy
	once   bool // the tree crosses the source's link once, however many machines there are
	slow   bool // that link is the slow one
}

// arms returns all of them, in the figures' order.
func arms() []arm {
	return []arm{
		{name: armPackages, figure: 2, title: "each machine installs from packages", from: recipe.Packages},
		{name: armDirect, figure: 4, title: "cached tree, fetched directly", from: recipe.Whole},
		{name: armChain, figure: 5, title: "cached tree, through the chain", from: recipe.Whole, once: true},
		{name: armSlow, figure: 6, title: "cached tree, over a slow link", from: recipe.Whole, slow: true},
	}
}

// chosenArms returns those that a list names.
func chosenArms(list string) ([]arm, error) {
	var names []string
	all := arms()
	for _, a := range all {
		names = append(names, a.name)
	}
	wanted := strings.Split(list, ",")
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("--arms %q: use some of %s", w, strings.Join(names, ","))
		}
	}
	return slices.DeleteFunc(all, func(a arm) bool { return !slices.Contains(wanted, a.name) }), nil
}

// file is the name of the figure's drawing.
func (a arm) file() string { return fmt.Sprintf("figure%d.svg", a.figure) }

// rate is that of the source's link, in bits a second; 0 is not bounded.
func (a arm) rate(s settings) int64 {
	if a.slow {
		return int64(float64(s.Slow) * s.Scale)
	}
	return s.Link
}

// bytes is what crosses the source's link for n machines.
func (a arm) bytes(w work, n int) int64 {
	b := w.Tree
	if a.from == recipe.Packages {
		b = w.Packages
	}
	if a.once {
		return b
	}
	return b * int64(n)
}

// work is what one machine needs, in bytes.
type work struct {
	Tree     int64 // of the image's layers
	Packages int64
	Count    int // of packages
}

// predict says how many seconds a row takes, by the rows that there are: as long as
// the arm's nearest one for each machine, or, before there is any, alone as long as
// alone seconds for the machine's own work, which machines share the cores for, and
// what its bytes need of the link.
func (a arm) predict(s settings, w work, n int, t table) float64 {
	link := func(n int) float64 {
		if r := a.rate(s); r > 0 {
			return float64(a.bytes(w, n)) * 8 / float64(r)
		}
		return 0
	}
	var nearest int
	for _, m := range t.counts(a.name) {
		if nearest == 0 || abs(m-n) < abs(nearest-n) {
			nearest = m
		}
	}
	each := assumed
	if a.from == recipe.Packages {
		each *= timesPackages
	}
	if nearest > 0 {
		each = max(0, t.median(a.name, nearest, func(r row) float64 { return r.Took })-link(nearest)) / share(nearest, s.cores)
	}
	return link(n) + each*share(n, s.cores)
}

// What is assumed before anything was measured, for the first word on how long it
// takes: seconds that a machine keeps a core busy until it has installed a cached
// tree, and how many times that is for packages.
const (
	assumed       = 12.0
	timesPackages = 4.0
)

// share is how many times as long as alone n machines take on so many cores.
func share(n, cores int) float64 { return max(1, float64(n)/float64(max(1, cores))) }

func abs(n int) int { return max(n, -n) }
