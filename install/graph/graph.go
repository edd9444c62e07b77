// Package graph says what each step of an environment sees, and names what
// comes of it.
//
// A step sees the tree below the steps and what the steps that it needs did,
// and those that they need; nothing of the others, so that its result depends
// on its text and on what it needs alone. Its key is a hash of these. A result
// of a build from nothing that exists under its key, over the very results that it saw,
// need not be made again in another, whatever else is in the job file: a changed step
// repeats itself and its descendants, as one whose result was taken away does, a failed
// one not its ancestors. What a step did upon an image is for builds upon that image
// alone: the key does not tell which bytes were below.
package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"ore"
)

// Key names the result of a step.
type Key string

// Graph is the graph of an environment's steps, which are numbered in their
// order there.
type Graph struct {
	steps []ore.Step
	below ore.Key
	seen  []map[int]bool // by each step
	keys  []Key
}

// New returns the graph of an environment whose steps are in an order in which
// each follows those that it needs.
func New(env ore.Environment) (*Graph, error) {
	g := &Graph{steps: env.Steps}
	env.Steps = nil
	g.below = env.Key()
	number := map[string]int{}
	for i, s := range g.steps {
		seen := map[int]bool{}
		for _, need := range s.Needs {
			j, ok := number[need]
			if !ok {
				return nil, fmt.Errorf("step %s needs %q, which is not before it", s.Name, need)
			}
			maps.Copy(seen, g.seen[j])
			seen[j] = true
		}
		number[s.Name] = i
		g.seen = append(g.seen, seen)
		g.keys = append(g.keys, g.key(i))
	}
	return g, nil
}

// Seen lists the steps whose work step i sees, in order.
func (g *Graph) Seen(i int) []int { return slices.Sorted(maps.Keys(g.seen[i])) }

// Alone tells whether there are steps before i that it does not see.
func (g *Graph) Alone(i int) bool { return len(g.seen[i]) < i }

// Apart names the steps that do not see all steps before them.
func (g *Graph) Apart() (names []string) {
	for i, s := range g.steps {
		if g.Alone(i) {
			names = append(names, s.Name)
		}
	}
	return names
}

// Key returns the key of step i.
func (g *Graph) Key(i int) Key { return g.keys[i] }

// SeeAll makes step i, and with it those that need it, see all steps before.
// It is called before the keys of later steps are asked for.
func (g *Graph) SeeAll(i int) {
	for j := range i {
		g.seen[i][j] = true
	}
	g.keys[i] = g.key(i)
	for k := i + 1; k < len(g.steps); k++ {
		if g.seen[k][i] {
			maps.Copy(g.seen[k], g.seen[i])
		}
		g.keys[k] = g.key(k)
	}
}

// key hashes what the result of step i depends on. Its name is not part of it.
func (g *Graph) key(i int) Key {
	h := sha256.New()
	fmt.Fprintf(h, "step 1\n%s\n%t %d\n%s\n", g.below, g.steps[i].Network, len(g.steps[i].Run), g.steps[i].Run)
	for _, j := range g.Seen(i) {
		fmt.Fprintln(h, g.keys[j])
	}
	return Key(hex.EncodeToString(h.Sum(nil)))
}

// Done lists the names of an environment's steps whose results are there already, as
// a build of it would find them: of a step whose result is there by what it needs and by
// all that was before it the latter counts, since that is only made where the former was
// not enough or in another's way. place says where the result of a step is, over those of
// the steps that it saw, in order; "" where there is none.
func Done(env ore.Environment, place func(k Key, over []string) string) ([]string, error) {
	g, err := New(env)
	if err != nil {
		return nil, err
	}
	var names []string
	places := make([]string, len(env.Steps)) // "" of those that would run, and with them those that see them
	find := func(g *Graph, i int) string {
		var over []string
		for _, j := range g.Seen(i) {
			if places[j] == "" {
				return ""
			}
			over = append(over, places[j])
		}
		return place(g.Key(i), over)
	}
	for i, s := range env.Steps {
		all := g
		if g.Alone(i) {
			all = g.clone()
			all.SeeAll(i)
		}
		if places[i] = find(all, i); places[i] != "" {
			g = all
		} else {
			places[i] = find(g, i)
		}
		if places[i] != "" {
			names = append(names, s.Name)
		}
	}
	return names, nil
}

func (g *Graph) clone() *Graph {
	c := *g
	c.seen, c.keys = nil, slices.Clone(g.keys)
	for _, s := range g.seen {
		c.seen = append(c.seen, maps.Clone(s))
	}
	return &c
}
