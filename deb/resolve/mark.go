package resolve

import (
	"cmp"
	"slices"
)

// depthLimit ends a chain of dependencies; apt has the same limit.
const depthLimit = 3000

// markInstall marks p for installation, and with deep also what it needs. It
// reports whether p and all that it needs could be marked. With user set the
// wish comes from outside: it is followed even where it leads to trouble.
func (s *solver) markInstall(p *pkg, deep bool, depth int, user bool) bool {
	onlyProtect := p.protected && p.mode == keep && p.candidate != nil && p.candidate == p.current
	if !onlyProtect && !changeable(p, install, depth, user) {
		return false
	}
	if p.candidate == nil {
		return false
	}
	if !p.protected && !s.broken(p, s.important) {
		if p.candidate == p.current {
			return true
		}
		if p.mode == install {
			return true
		}
	}
	if deep && !s.satisfiable(p) {
		return false
	}
	if user {
		setInstall(p)
	}
	if !deep {
		setInstall(p)
		return true
	}
	return s.markDeep(p, depth, user)
}

// markDeep is the part of markInstall that marks what p needs.
func (s *solver) markDeep(p *pkg, depth int, user bool) bool {
	failEarly := !p.protected && !user
	ok := true
	needs, rejects := s.collect(p)
	if !s.dropConflicts(p, rejects, depth, user) {
		if failEarly {
			return false
		}
		ok = false
	}
	if !user {
		setInstall(p)
	}
	already := p.protected
	p.protected = true
	done := s.markNeeds(p, needs, marking{depth: depth, user: user, pass: already})
	p.protected = already
	if !done {
		if failEarly {
			discard(p)
			return false
		}
		ok = false
	}
	return ok
}

// changeable reports whether p's mode may become to.
func changeable(p *pkg, to mode, depth int, user bool) bool {
	switch {
	case depth > depthLimit || len(p.versions) == 0:
		return false
	case user || p.mode == to:
		return true
	}
	return !p.protected
}

// satisfiable reports whether every dependency of p's candidate can be met by
// what is marked or by candidates. If not, the candidate is given up.
func (s *solver) satisfiable(p *pkg) bool {
	if p.candidate == p.current {
		return true
	}
	for _, g := range s.groups(p.candidate) {
		if !g.kind.critical() || g.kind.negative() {
			continue
		}
		if s.any(p, g, installed) || s.any(p, g, candidate) {
			continue
		}
		if !p.protected {
			p.candidate = p.current
			p.mode = keep
		}
		return false
	}
	return true
}

// any reports whether one of the group's alternatives is met.
func (s *solver) any(owner *pkg, g group, of pick) bool {
	for _, t := range g.targets {
		if s.met(owner, g.kind, t, of) {
			return true
		}
	}
	return false
}

// broken reports whether something that p, as marked, needs is not marked, or
// something that it rejects is; only relationships that count are looked at.
func (s *solver) broken(p *pkg, counts func(group) bool) bool {
	if p.install == nil {
		return false
	}
	for _, g := range s.groups(p.install) {
		if counts(g) && s.any(p, g, installed) == g.kind.negative() {
			return true
		}
	}
	return false
}

func critical(g group) bool { return g.kind.critical() }

func (s *solver) important(g group) bool { return g.kind.critical() || s.recommends }

// collect divides the relationships of p's candidate that ask for action into
// those that need packages and those that reject some. For a protected package
// also the met ones count: what they mean becomes protected too.
func (s *solver) collect(p *pkg) (needs, rejects []group) {
	for _, g := range s.groups(p.candidate) {
		fine := s.any(p, g, installed) != g.kind.negative()
		if fine && !p.protected || !s.important(g) {
			continue
		}
		if g.kind.negative() {
			rejects = append(rejects, g)
		} else {
			needs = append(needs, g)
		}
	}
	return needs, rejects
}

// dropConflicts takes what p rejects off the list, or off the candidates when
// p is protected. What is in the base set stays, and p fails.
func (s *solver) dropConflicts(p *pkg, rejects []group, depth int, user bool) bool {
	ok := true
	for _, g := range rejects {
		for _, v := range s.ordered(p, g, candidate) {
			q := v.pkg
			switch {
			case q.candidate != v:
				continue
			case q.current == v, q.mode == install && !markKeep(q, depth):
				ok = false
				if !p.protected && !user {
					return false
				}
			case p.protected:
				q.candidate = q.install
				if q.current == nil {
					q.protected = true
				}
			}
		}
	}
	return ok
}

// markKeep takes p off the list.
func markKeep(p *pkg, depth int) bool {
	if !changeable(p, keep, depth, false) {
		return false
	}
	p.mode, p.install = keep, p.current
	return true
}

// setInstall puts p's candidate on the list.
func setInstall(p *pkg) {
	if p.protected && p.install == p.candidate {
		return
	}
	p.mode, p.install = install, p.candidate
	if p.candidate == p.current {
		p.mode = keep
	}
}

// discard takes p off the list and gives its candidate up, since trying it
// again would fail again.
func discard(p *pkg) {
	if p.mode == keep && p.install == p.candidate && p.candidate == p.current {
		return
	}
	p.mode, p.install, p.candidate = keep, p.current, p.current
}

// marking is how markInstall goes down to a package's dependencies.
type marking struct {
	depth int
	user  bool
	pass  bool // the package is protected, and so is what it alone can need
}

// markNeeds marks a solution for each of the groups, which belong to p.
func (s *solver) markNeeds(p *pkg, needs []group, m marking) bool {
	ok := true
	for _, g := range needs {
		if s.any(p, g, installed) {
			if m.pass && !s.passProtection(p, g, m.depth) {
				ok = false
			}
			continue
		}
		if !s.markOne(p, g, m) && g.kind.critical() {
			ok = false
			if !m.pass && !m.user {
				return false
			}
		}
	}
	return ok
}

// markOne marks the first of the solutions of g that can be marked.
func (s *solver) markOne(p *pkg, g group, m marking) bool {
	possible := s.ordered(p, g, candidate)
	for _, v := range possible {
		q := v.pkg
		if q.candidate != v {
			continue
		}
		if m.pass && g.kind.critical() && len(possible) == 1 {
			if !s.markInstall(q, false, m.depth+1, false) {
				continue
			}
			q.protected = true
		}
		if s.markInstall(q, true, m.depth+1, false) {
			return true
		}
	}
	return false
}

// passProtection protects the one package that can meet the group g of p.
func (s *solver) passProtection(p *pkg, g group, depth int) bool {
	if !g.kind.critical() {
		return true
	}
	var possible []*version
	for _, t := range g.targets {
		for _, of := range []pick{candidate, current} {
			for _, v := range s.solutions(p, g.kind, t, of) {
				if !v.pkg.refused() && !slices.Contains(possible, v) {
					possible = append(possible, v)
				}
			}
		}
	}
	if len(possible) != 1 || possible[0].pkg.protected {
		return true
	}
	q := possible[0].pkg
	q.protected = true
	return s.markInstall(q, true, depth+1, false)
}

// refused reports whether it is settled that p is not installed.
func (p *pkg) refused() bool { return p.protected && p.mode == keep && p.current == nil }

// ordered returns the versions that meet the group g of p in the order of
// preference: those there already, then alternative by alternative.
func (s *solver) ordered(p *pkg, g group, of pick) []*version {
	var there, fresh []*version
	for _, t := range g.targets {
		list := s.solutions(p, g.kind, t, of)
		slices.SortFunc(list, func(a, b *version) int { return comparePreference(t.pkg, a, b) })
		for _, v := range list {
			switch {
			case slices.Contains(there, v) || slices.Contains(fresh, v):
			case !g.kind.negative() && v.pkg.refused():
			case v.pkg.current != nil:
				there = append(there, v)
			default:
				fresh = append(fresh, v)
			}
		}
	}
	return append(there, fresh...)
}

// comparePreference orders two versions that both meet a relation naming the
// package named; the preferred one comes first.
func comparePreference(named *pkg, a, b *version) int {
	p, q := a.pkg, b.pkg
	if p == q {
		return 0
	}
	for _, prefer := range [][2]bool{
		{p.protected, q.protected},
		{p.current != nil, q.current != nil},
		{p == named, q == named},
		{p.essential, q.essential},
		{p.important, q.important},
	} {
		if prefer[0] != prefer[1] {
			if prefer[0] {
				return -1
			}
			return 1
		}
	}
	if c := cmp.Compare(a.info.Priority, b.info.Priority); c != 0 {
		return c
	}
	return cmp.Compare(q.rank, p.rank)
}
