package graph

import (
	"fmt"
	"slices"

	"ore"
)

// After is what an image has run of a graph's steps, and how the others stand to it.
// Of what these steps did only the sum is known: a step that does not run again sees
// all of it or nothing.
type After struct {
	graph  *Graph
	ran    map[int]bool
	beside bool // a step runs that sees nothing of it
}

// After tells how the steps of the graph go on where an image has run the steps ran,
// in its order; apart are those of them that are known to have run by their needs alone
// although others were before them. why says why they cannot go on; "" if they can.
//
// They can if each of ran did what it does in a build from nothing, where other steps
// may come before it: it saw what it needs, and no more. And if each step that runs now
// needs all of ran, or nothing of it; what gets in the way of ran is then found by the
// sum, unless one of ran changed what another had made.
func (g *Graph) After(ran []ore.Step, apart []string) (a *After, why string) {
	a = &After{graph: g, ran: map[int]bool{}}
	at, bound := 0, false
	for n, s := range ran {
		i := slices.IndexFunc(g.steps[at:], func(t ore.Step) bool { return same(s, t) })
		if i < 0 {
			return nil, fmt.Sprintf("it has run step %s, which is not asked for so", s.Name)
		}
		i += at
		at = i + 1
		if len(g.seen[i]) < n && !slices.Contains(apart, s.Name) {
			return nil, fmt.Sprintf("step %s of it may have seen more than it needs", s.Name)
		}
		a.ran[i] = true
		bound = bound || len(g.seen[i]) > 0
	}
	for i, s := range g.steps {
		if a.ran[i] {
			continue
		}
		all, ok := a.Sees(i)
		switch {
		case !ok:
			return nil, fmt.Sprintf("step %s needs some of the steps that it has run, and not all", s.Name)
		case !all && bound:
			return nil, fmt.Sprintf("step %s needs none of the steps that it has run, of which some need each other", s.Name)
		}
		a.beside = a.beside || !all
	}
	return a, ""
}

// same tells whether two steps are the same work, by names that others need them by.
func same(s, t ore.Step) bool {
	return s.Name == t.Name && s.Run == t.Run && s.Network == t.Network && slices.Equal(s.Needs, t.Needs)
}

// Ran tells whether the image has run step i.
func (a *After) Ran(i int) bool { return a.ran[i] }

// Beside tells whether a step runs that sees nothing of what the image has run.
func (a *After) Beside() bool { return a.beside && len(a.ran) > 0 }

// Sees tells whether step i sees all that the image has run; ok is false if it sees
// some of it, and not all.
func (a *After) Sees(i int) (all, ok bool) {
	n := 0
	for j := range a.graph.seen[i] {
		if a.ran[j] {
			n++
		}
	}
	return n == len(a.ran), n == 0 || n == len(a.ran)
}

// Last tells whether all that the image has run comes before step i.
func (a *After) Last(i int) bool {
	for j := range a.ran {
		if j > i {
			return false
		}
	}
	return true
}
