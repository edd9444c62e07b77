// Package shape decides who sends what to whom when one blob goes to many
// hosts, and how that changes when hosts join, die or are slow. It is pure: it
// knows rates and places as values, and touches nothing.
//
// A blob's chunks are dealt out over some stripes; each stripe flows down a tree
// of its own. One tree without branches is a chain, one with nothing but leaves
// is the direct way (a star), several with disjoint inner hosts let every host
// send as much as it receives at a depth that grows with the logarithm of N
// (SplitStream, SOSP 2003; two trees: Sanders, Speck and Träff, Parallel
// Computing 2009). With M chunks and equal links of rate B nothing is faster than
// (1 + floor(log2 N)/M) S/B (Mundinger, Weber and Weiss, J. Scheduling 2008; RDMC,
// DSN 2018): [Bound]. The shapes here come within a few chunks of it: a binomial pipeline,
// which reaches it, has each host talk to log2 N others by a clock, where a few trees need
// neither and lose next to nothing once there are many chunks.
package shape

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Parents that are no receivers.
const (
	// Source is the parent of those that get their chunks from the source.
	Source = -1
	// Out is the parent of hosts that are no longer, or not at all, in a tree.
	Out = -2
)

// Host is a receiver or the source. Rates are bytes a second; what is not known
// is zero, and taken to be as good as the best.
type Host struct {
	Name         string
	Rack, Switch string
	Up, Down     float64
}

// Task is what is to be spread.
type Task struct {
	Source    Host
	Receivers []Host
	Size      int64 // bytes that must go
	Chunk     int64 // bytes of a chunk
	// Hop is how many seconds a chunk spends at a relay beside its time on the
	// wire, Setup how many pass until a receiver's first byte is asked for.
	Hop, Setup float64
}

// Kind names what a shape looks like.
type Kind string

// Kinds of shapes.
const (
	Direct Kind = "direct"
	Chain  Kind = "chain"
	Chains Kind = "chains"
	Trees  Kind = "trees"
)

// Shape says for each stripe who is whose parent.
type Shape struct {
	Kind Kind
	// Trees has for each stripe the parent of each receiver, by its index in
	// the task, or Source or Out.
	Trees [][]int
	// Seconds is how long it takes until the last receiver has all, by
	// prediction.
	Seconds float64

	fast   float64 // the same without hosts that are much slower than the others
	slots  []int   // how many children each receiver can feed without falling behind
	source int     // how many the source can
	line   []int   // who trails, in the order in which they feed each other
}

// Limits of what is considered.
const (
	// maxStripes bounds the trees: more only make each slower to begin with.
	maxStripes = 4
	// maxChains bounds the chains that a source with a fat link feeds at once.
	maxChains = 8
	// slowPart of the median rate is what a host must have to be more than a
	// leaf.
	slowPart = 0.5
	// worthIt is how much faster a less simple shape must be to be taken.
	worthIt = 0.99
	// uneven is how much of a link is used where several stripes share it: TCP's
	// streams share unevenly, and a host that gets one stripe faster than it can
	// pass it on gets the others late. Measured with two trees of 64 hosts at
	// 20 Mbit/s, beside other work: 0.89.
	uneven = 0.94
)

// Bound is the least time in which n receivers on equal links of rate can have
// size bytes in chunks.
func Bound(n int, size, chunk int64, rate float64) float64 {
	if n == 0 || size == 0 {
		return 0
	}
	m := math.Ceil(float64(size) / float64(max(chunk, 1)))
	return (1 + float64(bits.Len(uint(n))-1)/m) * float64(size) / rate
}

// Choose returns the shape that is predicted to be done first; of nearly equal
// ones, which one slow host can make all, that in which the others are, and then the
// simplest.
func Choose(t Task) Shape {
	all := Candidates(t)
	least := all[0].Seconds
	for _, s := range all[1:] {
		least = min(least, s.Seconds)
	}
	near := slices.DeleteFunc(all, func(s Shape) bool { return s.Seconds > least/worthIt })
	best := near[0]
	for _, s := range near[1:] {
		if s.fast < best.fast*worthIt {
			best = s
		}
	}
	return best
}

// Candidates returns the shapes that Choose compares, simplest first.
func Candidates(t Task) []Shape {
	t = t.known()
	n := len(t.Receivers)
	order, fast := Order(t)
	all := []Shape{chains(t, order, max(n, 1))}
	for m := 1; m <= min(maxChains, n-1); m++ {
		all = append(all, chains(t, order, m))
	}
	for k := 2; k <= min(maxStripes, fast/2); k++ {
		all = append(all, trees(t, order, fast, k))
	}
	for i := range all {
		at := predict(t, all[i])
		for place, h := range order {
			all[i].Seconds = max(all[i].Seconds, at[h])
			if place < fast {
				all[i].fast = max(all[i].fast, at[h])
			}
		}
	}
	return all
}

// known fills in rates that are not known.
func (t Task) known() Task {
	best := 1.0
	for _, h := range append([]Host{t.Source}, t.Receivers...) {
		best = max(best, h.Up, h.Down)
	}
	fill := func(h Host) Host {
		h.Up, h.Down = cmp.Or(h.Up, best), cmp.Or(h.Down, best)
		return h
	}
	t.Source = fill(t.Source)
	t.Receivers = slices.Clone(t.Receivers)
	for i, h := range t.Receivers {
		t.Receivers[i] = fill(h)
	}
	return t
}

// Order returns the receivers as hops should follow each other: the source's
// rack, its switch, then rack by rack, so that each link between racks is
// crossed once; what is much slower than the median comes last. fast is how
// many are not.
func Order(t Task) (order []int, fast int) {
	t = t.known()
	rate := func(i int) float64 { return min(t.Receivers[i].Up, t.Receivers[i].Down) }
	order = make([]int, len(t.Receivers))
	for i := range order {
		order[i] = i
	}
	rates := make([]float64, len(order))
	for i := range order {
		rates[i] = rate(i)
	}
	slices.Sort(rates)
	limit := 0.0
	if len(rates) > 0 {
		limit = slowPart * rates[len(rates)/2]
	}
	slices.SortStableFunc(order, func(a, b int) int {
		slowA, slowB := rate(a) < limit, rate(b) < limit
		switch {
		case slowA != slowB:
			return cmp.Compare(btoi(slowA), btoi(slowB))
		case slowA:
			return cmp.Compare(rate(b), rate(a))
		}
		x, y := t.Receivers[a], t.Receivers[b]
		return cmp.Or(
			cmp.Compare(distance(t.Source, x), distance(t.Source, y)),
			cmp.Compare(x.Switch, y.Switch),
			cmp.Compare(x.Rack, y.Rack))
	})
	for _, i := range order {
		fast += btoi(rate(i) >= limit)
	}
	return order, fast
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// distance counts what lies between two hosts.
func distance(a, b Host) int {
	switch {
	case a.Rack == b.Rack && a.Switch == b.Switch:
		return 0
	case a.Switch == b.Switch:
		return 1
	}
	return 2
}

// chains makes m chains of about equal length that the source feeds; as many as
// there are receivers are the direct way.
func chains(t Task, order []int, m int) Shape {
	n := len(order)
	parent := make([]int, n)
	s := Shape{Kind: Chains, Trees: [][]int{parent}, source: min(m, n)}
	switch {
	case m >= n:
		s.Kind = Direct
	case m == 1:
		s.Kind = Chain
	}
	for c := range min(m, n) {
		before := Source
		for _, i := range order[c*n/m : (c+1)*n/m] {
			parent[i] = before
			before = i
		}
	}
	for range n {
		s.slots = append(s.slots, 1)
	}
	return s
}

// trees makes k trees. Each of the fast hosts is an inner host of one of them
// and a leaf of all others, so that it sends what it receives.
func trees(t Task, order []int, fast, k int) Shape {
	n := len(order)
	s := Shape{Kind: Trees, source: k}
	for i := range n {
		s.slots = append(s.slots, k)
		if slices.Index(order, i) >= fast {
			s.slots[i] = 0
		}
	}
	for stripe := range k {
		parent := make([]int, n)
		var inner, leaves []int
		for at, i := range order {
			if at < fast && at%k == stripe {
				inner = append(inner, i)
			} else {
				leaves = append(leaves, i)
			}
		}
		branch(parent, inner, Source, k)
		hang(parent, inner, leaves, k)
		s.Trees = append(s.Trees, parent)
	}
	return s
}

// branch makes a tree of neighbours: the first is the root, and k runs of those
// behind it are its branches.
func branch(parent, hosts []int, above, k int) {
	if len(hosts) == 0 {
		return
	}
	root, rest := hosts[0], hosts[1:]
	parent[root] = above
	for b := range k {
		branch(parent, rest[b*len(rest)/k:(b+1)*len(rest)/k], root, k)
	}
}

// hang gives the leaves to inner hosts that have room, in the order of both, so
// that neighbours stay near each other. Those for whom there is no room are
// dealt out.
func hang(parent, inner, leaves []int, k int) {
	children := map[int]int{}
	for _, i := range inner {
		children[parent[i]]++
	}
	at := 0
	for _, i := range inner {
		for ; children[i] < k && at < len(leaves); at++ {
			parent[leaves[at]] = i
			children[i]++
		}
	}
	for j, i := range leaves[at:] {
		parent[i] = inner[len(inner)-1-j%len(inner)]
	}
}

// Predict is the time until the last receiver has all: a link that is shared is
// shared evenly, and not all of it used if stripes share it, a tree's branch is no faster than what feeds it, and each hop
// adds a chunk's time.
func Predict(t Task, s Shape) float64 {
	var last float64
	for _, at := range predict(t.known(), s) {
		last = max(last, at)
	}
	return last
}

// predict is the same for each receiver.
func predict(t Task, s Shape) []float64 {
	fan := map[int]int{}
	for _, parent := range s.Trees {
		for _, p := range parent {
			fan[p]++
		}
	}
	stripes, used, done := float64(len(s.Trees)), 1.0, make([]float64, len(t.Receivers))
	if len(s.Trees) > 1 {
		used = uneven
	}
	for _, parent := range s.Trees {
		rate, begin := make([]float64, len(parent)), make([]float64, len(parent))
		for _, i := range topDown(parent) {
			p, up, from, fed := parent[i], t.Source.Up, t.Setup, math.Inf(1)
			if p >= 0 {
				up, from, fed = t.Receivers[p].Up, begin[p]+t.Hop+float64(min(t.Chunk, t.Size))/rate[p], rate[p]
			}
			rate[i] = min(used*up/float64(fan[p]), used*t.Receivers[i].Down/stripes, fed)
			begin[i] = from
			done[i] = max(done[i], begin[i]+float64(t.Size)/stripes/rate[i])
		}
	}
	return done
}

// topDown lists the receivers of a tree, parents before children.
func topDown(parent []int) []int {
	children := map[int][]int{}
	for i, p := range parent {
		if p != Out {
			children[p] = append(children[p], i)
		}
	}
	list := slices.Clone(children[Source])
	for at := 0; at < len(list); at++ {
		list = append(list, children[list[at]]...)
	}
	return list
}
