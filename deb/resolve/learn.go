package resolve

import "slices"

// learn draws a new clause from the broken clause bad, goes back to the level
// where that clause forces something, and assigns it (first unique implication
// point).
func (x *search) learn(bad int) {
	learned, from, back := x.analyse(bad)
	x.backTo(back)
	n := x.add("", learned...)
	x.clauses[n].from = from
	x.assign(learned[0], n)
}

// analyse resolves bad with the causes of its literals until only one literal
// of the present level is left. That one comes first in the learned clause, and
// one of the level to go back to second.
func (x *search) analyse(bad int) (learned []literal, from []int, back int) {
	here := len(x.limits)
	seen := make(map[int]bool)
	learned = []literal{0}
	open, at, n := 0, len(x.trail), bad
	for {
		from = append(from, n)
		for _, l := range x.clauses[n].literals {
			v := l.variable()
			if seen[v] || x.holds(l) > 0 {
				continue
			}
			seen[v] = true
			switch {
			case x.level[v] == here:
				open++
			case x.level[v] > 0:
				learned = append(learned, l)
				back = max(back, x.level[v])
			default:
				from = x.roots(v, from, seen)
			}
		}
		for at--; !seen[x.trail[at].variable()] || x.level[x.trail[at].variable()] != here; at-- {
		}
		if open--; open == 0 {
			break
		}
		n = x.cause[x.trail[at].variable()]
	}
	learned[0] = x.trail[at].not()
	for i := 2; i < len(learned); i++ {
		if x.level[learned[i].variable()] > x.level[learned[1].variable()] {
			learned[1], learned[i] = learned[i], learned[1]
		}
	}
	return learned, from, back
}

// roots adds the clauses that settled v before any decision.
func (x *search) roots(v int, from []int, seen map[int]bool) []int {
	n := x.cause[v]
	from = append(from, n)
	for _, l := range x.clauses[n].literals {
		if w := l.variable(); w != v && !seen[w] {
			seen[w] = true
			from = x.roots(w, from, seen)
		}
	}
	return from
}

// backTo takes all decisions above a level back.
func (x *search) backTo(level int) {
	limit := x.limits[level]
	for _, l := range x.trail[limit:] {
		x.value[l.variable()], x.cause[l.variable()] = 0, -1
	}
	x.trail, x.limits = x.trail[:limit], x.limits[:level]
	x.head = limit
}

// contradiction returns the error that says which clauses together cannot hold:
// the broken one and, without end, those that forced its literals. They come in
// the order in which packages were reached from the wishes.
func (x *search) contradiction(bad int) error {
	from := x.origins(bad)
	used := make(map[int]bool)
	var said []int
	for len(from) > 0 {
		n := from[0]
		from = from[1:]
		if n < 0 || used[n] {
			continue
		}
		used[n] = true
		if x.clauses[n].reason != "" {
			said = append(said, n)
		}
		from = append(from, x.clauses[n].from...)
	}
	slices.Sort(said)
	e := &ConflictError{}
	for _, n := range said {
		e.Reasons = append(e.Reasons, x.clauses[n].reason)
	}
	return e
}

// origins returns bad and the clauses that settled its literals.
func (x *search) origins(bad int) []int {
	from := []int{bad}
	seen := make(map[int]bool)
	for _, l := range x.clauses[bad].literals {
		if v := l.variable(); !seen[v] && x.cause[v] >= 0 {
			seen[v] = true
			from = x.roots(v, from, seen)
		}
	}
	return from
}
