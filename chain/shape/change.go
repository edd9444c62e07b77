package shape

import "slices"

// Remove takes a host out, and gives its children to others. It keeps all
// trees whole: whoever is left still hangs, over some way, from the source.
func (s *Shape) Remove(host int) {
	for _, parent := range s.Trees {
		parent[host] = Out
	}
	s.slots[host] = 0
	s.line = slices.DeleteFunc(s.line, func(i int) bool { return i == host })
	for k, parent := range s.Trees {
		for i, p := range parent {
			if p == host {
				s.attach(k, i)
			}
		}
	}
}

// Demote makes a host a leaf of all trees: it can be slow there without anybody
// waiting for it.
func (s *Shape) Demote(host int) {
	s.Remove(host)
	for k := range s.Trees {
		s.attach(k, host)
	}
}

// Trail puts a host at the end of a line behind the tail of all trees, where only
// those wait for it that were put there later. Leaves of one host share its link, so
// that ten of them take ten times as long; a line costs each link in it one copy,
// and who is in it for no good reason is hardly later than all others.
func (s *Shape) Trail(host int) {
	s.Remove(host)
	s.line = append(s.line, host)
	for k := range s.Trees {
		s.attach(k, host)
	}
}

// Trails says whether a host is in that line.
func (s *Shape) Trails(host int) bool { return slices.Contains(s.line, host) }

// Seat has the source itself feed a host that was made a leaf. A host that feeds a
// stripe in the source's place stays without a parent there.
func (s *Shape) Seat(host int) {
	for _, parent := range s.Trees {
		if parent[host] != Out {
			parent[host] = Source
		}
	}
}

// Join adds a receiver at the tail and returns its index.
func (s *Shape) Join() int {
	host := len(s.slots)
	s.slots = append(s.slots, len(s.Trees))
	for k := range s.Trees {
		s.Trees[k] = append(s.Trees[k], Out)
	}
	for k := range s.Trees {
		s.attach(k, host)
	}
	return host
}

// Leaf says whether the host feeds nobody.
func (s *Shape) Leaf(host int) bool {
	for _, parent := range s.Trees {
		if slices.Contains(parent, host) {
			return false
		}
	}
	return true
}

// Demoted says whether the host was made a leaf, or taken out.
func (s *Shape) Demoted(host int) bool { return s.slots[host] == 0 && !s.Trails(host) }

// Clone returns a copy that can be changed.
func (s *Shape) Clone() Shape {
	c := *s
	c.slots, c.line = slices.Clone(s.slots), slices.Clone(s.line)
	c.Trees = nil
	for _, parent := range s.Trees {
		c.Trees = append(c.Trees, slices.Clone(parent))
	}
	return c
}

// attach gives a host without a parent to the one with most room; among equals
// to the nearest to the source, since it has the chunks first. Hosts below it
// cannot be its parent. Children that were made leaves for being slow take no
// room; where there is none they go to the tail, since all others wait for what
// the source sends.
func (s *Shape) attach(tree, host int) {
	parent := s.Trees[tree]
	parent[host] = Out
	if at := slices.Index(s.line, host); at > 0 {
		parent[host] = s.line[at-1]
		return
	}
	fan := map[int]int{}
	for _, parents := range s.Trees {
		for i, p := range parents {
			fan[p] += btoi(s.slots[i] > 0)
		}
	}
	best, room, last := Source, s.source-fan[Source], Source
	for _, i := range topDown(parent) { // those below host do not hang from the source
		if r := s.slots[i] - fan[i]; s.slots[i] > 0 && r > room {
			best, room = i, r
		}
		if s.slots[i] > 0 {
			last = i
		}
	}
	if s.slots[host] == 0 && room <= 0 {
		best = last
	}
	parent[host] = best
}

// Rooted returns chains through all hosts below n that are left (those for
// which gone is false), one for each root: a host that feeds its stripe when the
// source is no more. In the tree of its stripe a root is Out.
func Rooted(gone []bool, order, roots []int) Shape {
	s := Shape{Kind: Chains, source: 1, slots: make([]int, len(gone))}
	if len(roots) == 1 {
		s.Kind = Chain
	}
	for i := range s.slots {
		if !gone[i] {
			s.slots[i] = len(roots)
		}
	}
	for _, root := range roots {
		parent := make([]int, len(gone))
		for i := range parent {
			parent[i] = Out
		}
		at, before := slices.Index(order, root), Source
		for j := range order {
			if i := order[(at+1+j)%len(order)]; !gone[i] && i != root {
				parent[i] = before
				before = i
			}
		}
		s.Trees = append(s.Trees, parent)
	}
	return s
}
