package install

import (
	"slices"
	"strings"

	"ore/deb/control"
	"ore/install/dpkg"
)

// firstPreinst are the packages whose preinst must run before all others: it
// makes /etc/passwd and /etc/group, without which nothing can be owned by name.
const firstPreinst = "base-passwd"

// relations reads a field of p; a field that cannot be read asks for nothing,
// since dpkg will say what is wrong with it when it configures.
func relations(p *dpkg.Package, field string) []control.Alternatives {
	list, err := control.Relations(p.Paragraph.Get(field))
	if err != nil {
		return nil
	}
	return list
}

// active tells whether p has a preinst that does something when it is
// installed for the first time.
func active(p *dpkg.Package) bool {
	script, ok := p.Files["preinst"]
	return ok && !dpkg.Idle(script)
}

// providers lists for every name the packages that are it or provide it.
func providers(set []*dpkg.Package) map[string][]*dpkg.Package {
	m := map[string][]*dpkg.Package{}
	for _, p := range set {
		m[p.Name] = append(m[p.Name], p)
		for _, group := range relations(p, "Provides") {
			m[group[0].Name] = append(m[group[0].Name], p)
		}
	}
	return m
}

// wave is a part of a phase: these packages are unpacked together; then, unless
// it is the last, the packages in First are configured.
type wave struct {
	Unpack []*dpkg.Package
	First  []*dpkg.Package
}

// waves orders the packages of a phase, which lies over a configured base. A
// package may be unpacked once those that it pre-depends on are configured
// (Policy 7.2); that is observable only by a preinst, so packages without one
// are unpacked at once, and most phases are one wave.
func waves(set []*dpkg.Package) []wave {
	known := providers(set)
	unpacked, configured := map[*dpkg.Package]bool{}, map[*dpkg.Package]bool{}
	var list []wave
	for rest := set; len(rest) > 0; {
		var now, later, need []*dpkg.Package
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
		for _, p := range now {
			unpacked[p] = true
		}
		w := wave{Unpack: now}
		for _, p := range need {
			w.First = append(w.First, closureOf(p, known, unpacked)...)
		}
		slices.SortFunc(w.First, func(a, b *dpkg.Package) int { return strings.Compare(a.Spec(), b.Spec()) })
		w.First = slices.DeleteFunc(slices.Compact(w.First), func(p *dpkg.Package) bool { return configured[p] })
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
func unmet(p *dpkg.Package, known map[string][]*dpkg.Package, configured map[*dpkg.Package]bool) []*dpkg.Package {
	if !active(p) {
		return nil
	}
	var need []*dpkg.Package
	for _, group := range relations(p, "Pre-Depends") {
		found := inPhase(group, known)
		if len(found) > 0 && !slices.ContainsFunc(found, func(q *dpkg.Package) bool { return configured[q] }) {
			need = append(need, found[0])
		}
	}
	return need
}

func inPhase(group control.Alternatives, known map[string][]*dpkg.Package) []*dpkg.Package {
	var found []*dpkg.Package
	for _, r := range group {
		found = append(found, known[r.Name]...)
	}
	return found
}

// closureOf returns first and all packages of the phase that it depends on, or
// nothing if one of them is not unpacked yet.
func closureOf(first *dpkg.Package, known map[string][]*dpkg.Package, unpacked map[*dpkg.Package]bool) []*dpkg.Package {
	seen := map[*dpkg.Package]bool{}
	var out []*dpkg.Package
	for queue := []*dpkg.Package{first}; len(queue) > 0; queue = queue[1:] {
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

// preinsts lists the packages whose preinst must run, in an order in which each
// finds what it needs: those that it pre-depends on first.
func preinsts(set []*dpkg.Package) []*dpkg.Package {
	known := providers(set)
	var out []*dpkg.Package
	seen := map[*dpkg.Package]bool{}
	var visit func(p *dpkg.Package)
	visit = func(p *dpkg.Package) {
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

// replaces tells whether a may take over files of b (Policy 7.6.1).
func replaces(a, b *dpkg.Package) bool {
	for _, group := range relations(a, "Replaces") {
		for _, r := range group {
			if r.Name == b.Name && r.Allows(b.Version) {
				return true
			}
		}
	}
	return false
}
