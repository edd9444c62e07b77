package resolve

// This file is the second, complete way: a search for versions that meet all
// clauses, with unit propagation, learned clauses and back-jumping (the CDCL
// method, as in Marques-Silva and Sakallah, GRASP, 1996; the encoding of
// packages is that of Tucker et al., OPIUM, 2007). Decisions are taken only
// where a chosen version still needs something, in the order of the wishes and
// of apt's preferences, so that nothing is chosen that nobody needs.

import (
	"context"
	"fmt"
	"slices"
)

// A literal is 2n for "version n is chosen" and 2n+1 for "it is not".
type literal int

func (l literal) variable() int { return int(l) / 2 }
func (l literal) not() literal  { return l ^ 1 }

// clause is a list of literals of which one must hold. The first clauses say
// what packages say, later ones are learned.
type clause struct {
	literals []literal
	reason   string // for people; "" for a learned clause
	from     []int  // the clauses that a learned one follows from
}

// search is the state of the search.
type search struct {
	s        *solver
	numbers  map[*version]int
	versions []*version
	needs    [][][]literal // for each version, what it needs: alternatives, the preferred one first
	clauses  []clause
	watches  [][]int // for each literal, the clauses to look at when it falls

	value  []int8 // of each variable: 1, -1, or 0 for undecided
	level  []int
	cause  []int // the clause that forced the variable, -1 for a decision
	trail  []literal
	limits []int // where in the trail each level begins
	head   int   // what of the trail was propagated
}

// conflictLimit ends a search that gets nowhere: some seconds of work.
const conflictLimit = 200_000

// search marks a set that holds the wishes and the base set.
func (s *solver) search(ctx context.Context, wishes []*pkg) error {
	x := &search{s: s, numbers: make(map[*version]int)}
	for _, p := range wishes {
		x.wish(p)
	}
	for i := 0; i < len(s.loaded); i++ {
		if p := s.loaded[i]; p.current != nil {
			x.add(fmt.Sprintf("%s belongs to the base set", label(p.current)), x.literal(p.current))
		}
	}
	for i := 0; i < len(x.versions); i++ { // grows on the way
		if err := ctx.Err(); err != nil {
			return err
		}
		x.relations(x.versions[i])
	}
	x.exclusions()
	if s.err != nil {
		return s.err
	}
	if err := x.run(ctx); err != nil {
		return err
	}
	for n, v := range x.versions {
		if x.value[n] > 0 {
			v.pkg.candidate = v
			setInstall(v.pkg)
		}
	}
	s.sweep(wishes)
	return nil
}

// wish adds the clause that p is wanted, at its candidate version.
func (x *search) wish(p *pkg) {
	if v := p.candidate; v != nil {
		x.add("you asked for "+label(v), x.literal(v))
	}
}

func label(v *version) string { return v.info.Name + " " + v.info.Version }

// literal returns the literal for choosing v, which becomes known thereby.
func (x *search) literal(v *version) literal {
	n, ok := x.numbers[v]
	if !ok {
		n = len(x.versions)
		x.numbers[v] = n
		x.versions = append(x.versions, v)
		x.needs = append(x.needs, nil)
		x.watches = append(x.watches, nil, nil)
		x.value = append(x.value, 0)
		x.level = append(x.level, 0)
		x.cause = append(x.cause, -1)
	}
	return literal(2 * n)
}

// add adds a clause and returns its number. The first two literals are watched.
func (x *search) add(reason string, literals ...literal) int {
	n := len(x.clauses)
	x.clauses = append(x.clauses, clause{literals: literals, reason: reason})
	for _, l := range literals[:min(2, len(literals))] {
		x.watches[l] = append(x.watches[l], n)
	}
	return n
}

// relations adds the clauses that v's fields mean.
func (x *search) relations(v *version) {
	self := x.literal(v)
	for _, g := range x.s.groups(v) {
		if !g.kind.critical() {
			continue
		}
		if g.kind.negative() {
			for _, w := range x.matching(v.pkg, g) {
				if w.pkg != v.pkg {
					x.add(fmt.Sprintf("%s %s %s", label(v), g.kind, g.targets[0].against(w)),
						self.not(), x.literal(w).not())
				}
			}
			continue
		}
		clauseOf := []literal{self.not()}
		for _, w := range x.matching(v.pkg, g) {
			if l := x.literal(w); !slices.Contains(clauseOf, l) {
				clauseOf = append(clauseOf, l)
			}
		}
		if slices.Contains(clauseOf, self) {
			continue
		}
		x.needs[self.variable()] = append(x.needs[self.variable()], slices.Clone(clauseOf[1:]))
		x.add(fmt.Sprintf("%s needs %s%s", label(v), g, x.lack(g, len(clauseOf) == 1)), clauseOf...)
	}
}

// String returns the group as it stands in a field.
func (g group) String() string {
	text := ""
	for i, t := range g.targets {
		if i > 0 {
			text += " | "
		}
		text += t.Relation.String()
	}
	return text
}

// against names what a negative relation hits.
func (t target) against(w *version) string {
	if w.pkg == t.pkg {
		return label(w)
	}
	return fmt.Sprintf("%s, which %s provides", t.Relation, label(w))
}

// lack says what there is instead of what a group needs.
func (x *search) lack(g group, lacking bool) string {
	if !lacking {
		return ""
	}
	text := ""
	for _, t := range g.targets {
		switch {
		case len(t.pkg.versions) > 0 && t.pkg.current != nil:
			text += fmt.Sprintf(", but %s is in the base set", label(t.pkg.current))
		case len(t.pkg.versions) > 0:
			text += fmt.Sprintf(", but there is %s", label(t.pkg.versions[0]))
		default:
			text += fmt.Sprintf(", but no index has %s", t.pkg.name)
		}
	}
	return text
}

// matching returns all versions that meet g: candidates in apt's order first,
// then what is no candidate. A package that is settled by a wish or the base
// set offers no other version.
func (x *search) matching(owner *pkg, g group) []*version {
	list := x.s.ordered(owner, g, candidate)
	for _, t := range g.targets {
		if !(g.kind.negative() && owner == t.pkg) {
			for _, v := range t.pkg.versions {
				if t.accepts(v) && !slices.Contains(list, v) {
					list = append(list, v)
				}
			}
		}
		for _, pr := range x.s.link(t.pkg) {
			if t.acceptsProvided(pr) && !(g.kind.negative() && pr.by.pkg == owner) && !slices.Contains(list, pr.by) {
				list = append(list, pr.by)
			}
		}
	}
	return slices.DeleteFunc(list, func(v *version) bool {
		return v.pkg.current != nil && v.pkg.current != v
	})
}

// exclusions adds that of each package one version can be there.
func (x *search) exclusions() {
	for i, v := range x.versions {
		for _, w := range v.pkg.versions {
			if j, ok := x.numbers[w]; ok && j > i {
				x.add(fmt.Sprintf("of %s only one version can be installed, %s or %s", v.pkg.name, v.info.Version, w.info.Version),
					literal(2*i+1), literal(2*j+1))
			}
		}
	}
}

// run decides until nothing is open or a contradiction is proved.
func (x *search) run(ctx context.Context) error {
	for i := range x.clauses { // what holds without any decision
		if c := x.clauses[i]; len(c.literals) == 1 && !x.assign(c.literals[0], i) {
			return x.contradiction(i)
		}
	}
	for conflicts := 0; ; {
		if bad := x.propagate(); bad >= 0 {
			if len(x.limits) == 0 {
				return x.contradiction(bad)
			}
			if conflicts++; conflicts > conflictLimit {
				return fmt.Errorf("resolve packages: no answer after %d dead ends: ask for fewer packages at once", conflicts)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			x.learn(bad)
			continue
		}
		l, open := x.next()
		if !open {
			return nil
		}
		x.limits = append(x.limits, len(x.trail))
		x.assign(l, -1)
	}
}

// next returns the preferred solution of the first open need.
func (x *search) next() (literal, bool) {
	for _, l := range x.trail {
		if l&1 != 0 {
			continue
		}
		for _, alternatives := range x.needs[l.variable()] {
			if m, open := x.choose(alternatives); open {
				return m, true
			}
		}
	}
	return 0, false
}

// choose returns the first alternative that can still be chosen, unless one is.
func (x *search) choose(alternatives []literal) (literal, bool) {
	first, open := literal(0), false
	for _, m := range alternatives {
		switch x.holds(m) {
		case 1:
			return 0, false
		case 0:
			if !open {
				first, open = m, true
			}
		}
	}
	return first, open
}

// holds returns 1 if l holds, -1 if it does not, 0 if that is open.
func (x *search) holds(l literal) int8 {
	if l&1 == 0 {
		return x.value[l.variable()]
	}
	return -x.value[l.variable()]
}

// assign makes l hold because of the clause cause; it reports whether it can.
func (x *search) assign(l literal, cause int) bool {
	if h := x.holds(l); h != 0 {
		return h > 0
	}
	n := l.variable()
	x.value[n] = 1 - 2*int8(l&1)
	x.level[n], x.cause[n] = len(x.limits), cause
	x.trail = append(x.trail, l)
	return true
}

// propagate draws all conclusions; it returns a clause that is broken, or -1.
func (x *search) propagate() int {
	for x.head < len(x.trail) {
		fallen := x.trail[x.head].not()
		x.head++
		list := x.watches[fallen]
		kept := list[:0]
		for i, n := range list {
			stays, bad := x.visit(n, fallen)
			if stays {
				kept = append(kept, n)
			}
			if bad {
				x.watches[fallen] = append(kept, list[i+1:]...)
				return n
			}
		}
		x.watches[fallen] = kept
	}
	return -1
}

// visit looks at clause n, in which the watched literal fallen holds no more.
// It reports whether the clause is still watched there, and whether it is broken.
func (x *search) visit(n int, fallen literal) (stays, bad bool) {
	c := x.clauses[n].literals
	if len(c) == 1 {
		return true, true
	}
	c = x.watchOrder(n, fallen)
	if x.holds(c[0]) > 0 {
		return true, false
	}
	for i := 2; i < len(c); i++ {
		if x.holds(c[i]) >= 0 {
			c[1], c[i] = c[i], c[1]
			x.watches[c[1]] = append(x.watches[c[1]], n)
			return false, false
		}
	}
	return true, !x.assign(c[0], n)
}

// watchOrder puts the fallen literal second.
func (x *search) watchOrder(n int, fallen literal) []literal {
	c := x.clauses[n].literals
	if c[0] == fallen {
		c[0], c[1] = c[1], c[0]
	}
	return c
}
