package dpkg

import (
	"maps"
	"slices"
	"strings"

	"ore/deb/control"
)

// firstPreinst are the packages whose preinst must run before all others: it
// makes /etc/passwd and /etc/group, without which nothing can be owned by name.
const firstPreinst = "base-passwd"

// relations reads a field of p; a field that cannot be read asks for nothing,
// since dpkg will say what is wrong with it when it configures.
func relations(p *Package, field string) []control.Alternatives {
	list, err := control.Relations(p.Paragraph.Get(field))
	if err != nil {
		return nil
	}
	return list
}

// active tells whether p has a preinst that does something when it is
// installed for the first time.
func active(p *Package) bool {
	script, ok := p.Files["preinst"]
	return ok && !Idle(script)
}

// providers lists for every name the packages that are it or provide it.
func providers(set []*Package) map[string][]*Package {
	m := map[string][]*Package{}
	for _, p := range set {
		m[p.Name] = append(m[p.Name], p)
		for _, group := range relations(p, "Provides") {
			m[group[0].Name] = append(m[group[0].Name], p)
		}
	}
	return m
}

// Wave is a part of a phase: these packages are unpacked together; then, unless
// it is the last, the packages in First are configured.
type Wave struct {
	Unpack []*Package
	First  []*Package
}

// Waves orders the packages of a phase, which lies over a configured base. A
// package may be unpacked once those that it pre-depends on are configured
// (Policy 7.2); that is observable only by a preinst, so most phases are one wave.
// A wave before the last has just those packages that are configured after it:
// they need not wait for the others.
func Waves(set []*Package) []Wave {
	known := providers(set)
	unpacked, configured := map[*Package]bool{}, map[*Package]bool{}
	var list []Wave
	for rest := set; len(rest) > 0; {
		var now, later, need []*Package
		for _, p := range rest {
			if lacks := unmet(p, known, configured); len(lacks) > 0 {
				later, need = append(later, p), append(need, lacks...)
			} else {
				now = append(now, p)
			}
		}
		if len(now) == 0 { // a cycle: the least wrong is to go on
			now, later, need = rest, nil, nil
		}
		could := maps.Clone(unpacked)
		for _, p := range now {
			could[p] = true
		}
		w := Wave{Unpack: now}
		for _, p := range need {
			w.First = append(w.First, closureOf(p, known, could)...)
		}
		slices.SortFunc(w.First, func(a, b *Package) int { return strings.Compare(a.Spec(), b.Spec()) })
		w.First = slices.DeleteFunc(slices.Compact(w.First), func(p *Package) bool { return configured[p] })
		if len(w.First) > 0 {
			first := func(p *Package) bool { return slices.Contains(w.First, p) }
			later = slices.DeleteFunc(slices.Clone(rest), first)
			w.Unpack = slices.DeleteFunc(slices.Clone(now), func(p *Package) bool { return !first(p) })
		}
		for _, p := range w.Unpack {
			unpacked[p] = true
		}
		for _, p := range w.First {
			configured[p] = true
		}
		list = append(list, w)
		rest = later
	}
	return list
}

// unmet lists the packages of the phase that must be configured before p's
// preinst runs and are not yet.
func unmet(p *Package, known map[string][]*Package, configured map[*Package]bool) []*Package {
	if !active(p) {
		return nil
	}
	var need []*Package
	for _, group := range relations(p, "Pre-Depends") {
		found := inPhase(group, known)
		if len(found) > 0 && !slices.ContainsFunc(found, func(q *Package) bool { return configured[q] }) {
			need = append(need, found[0])
		}
	}
	return need
}

func inPhase(group control.Alternatives, known map[string][]*Package) []*Package {
	var found []*Package
	for _, r := range group {
		found = append(found, known[r.Name]...)
	}
	return found
}

// closureOf returns first and all packages of the phase that it depends on, or
// nothing if one of them is not unpacked yet.
func closureOf(first *Package, known map[string][]*Package, unpacked map[*Package]bool) []*Package {
	seen := map[*Package]bool{}
	var out []*Package
	for queue := []*Package{first}; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		if seen[p] {
			continue
		}
		if !unpacked[p] {
			return nil
		}
		seen[p] = true
		out = append(out, p)
		for _, field := range []string{"Pre-Depends", "Depends"} {
			for _, group := range relations(p, field) {
				queue = append(queue, inPhase(group, known)...)
			}
		}
	}
	return out
}

// Preinsts lists the packages whose preinst must run, in an order in which each
// finds what it needs: those that it pre-depends on first.
func Preinsts(set []*Package) []*Package {
	known := providers(set)
	var out []*Package
	seen := map[*Package]bool{}
	var visit func(p *Package)
	visit = func(p *Package) {
		if seen[p] {
			return
		}
		seen[p] = true
		for _, group := range relations(p, "Pre-Depends") {
			for _, q := range inPhase(group, known) {
				visit(q)
			}
		}
		if active(p) {
			out = append(out, p)
		}
	}
	for _, p := range known[firstPreinst] {
		visit(p)
	}
	for _, p := range set {
		visit(p)
	}
	return out
}

// Replaces tells whether a may take over files of b (Policy 7.6.1).
func Replaces(a, b *Package) bool {
	for _, group := range relations(a, "Replaces") {
		for _, r := range group {
			if r.Name == b.Name && r.Allows(b.Version) {
				return true
			}
		}
	}
	return false
}

// Automatic lists the packages of a base that were not asked for: those that
// came along with apt and the required packages. The essential ones and what
// those need are there in any case.
func Automatic(set []*Package) []*Package {
	kept := fixed(set)
	var list []*Package
	for _, p := range set {
		if !kept[p] {
			list = append(list, p)
		}
	}
	return list
}

// fixed returns the packages of the base that are there in their own right:
// apt, the required ones, and the essential ones with all that they need.
func fixed(set []*Package) map[*Package]bool {
	known := providers(set)
	unpacked := map[*Package]bool{}
	for _, p := range set {
		unpacked[p] = true
	}
	kept := map[*Package]bool{}
	for _, p := range set {
		switch {
		case p.Paragraph.Get("Essential") == "yes":
			for _, q := range closureOf(p, known, unpacked) {
				kept[q] = true
			}
		case p.Name == "apt" || p.Paragraph.Get("Priority") == "required":
			kept[p] = true
		}
	}
	return kept
}
