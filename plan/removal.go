package plan

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"

	"ore"
)

// Removing is predicted package by package, each by what that took before: one
// whose scripts stop a service takes many times as long as one that has none. One
// that was never removed is expected to take what others of its kind did in the
// mean, where a kind is how many programs the scripts call, and how long the package
// took to configure; nobody may have read or run them, and it is then of the kind of
// all. How far those of its kind differ is a doubt of the prediction; and what such a
// package then took teaches what is usual, not the law of removing: that is of what
// is known, and would else be taught how far one package differs from others.

// Usual is what parts of a kind took in the mean.
type Usual struct {
	Seconds float64
	Square  float64 `json:",omitempty"` // of seconds, in the mean
	Count   int     // of parts, at most usualCount
}

// usualCount is how many parts make a mean: enough for a few that take long to
// stand for all of these, and after as many again a site that has changed is known.
const usualCount = 256

// RemovalKind names the kinds of a package that is removed, as Rates keep what is
// usual for them: first its own, if known says that w is, and at last that of all.
func RemovalKind(w Weight, known bool) []string {
	const all = "removal"
	if !known {
		return []string{all}
	}
	return []string{fmt.Sprintf("%s of scripts %d", all, bits.Len(uint(max(0, w.Programs)))), all}
}

// take returns u with what another part took.
func (u Usual) take(d time.Duration) Usual {
	u.Count = min(u.Count+1, usualCount)
	s := d.Seconds()
	u.Seconds += (s - u.Seconds) / float64(u.Count)
	u.Square += (s*s - u.Square) / float64(u.Count)
	return u
}

// configuredKind names the kind of a package that took so long to configure here:
// scripts that do much when a package comes mostly do when it goes. Of 554 packages
// of Debian 12, 172 call programs when they are configured, and 161 of these when
// they are removed, about as many (the logarithms have a correlation of 0.66); of
// the 382 others 7 do.
func configuredKind(seconds float64) string {
	return fmt.Sprintf("removal of configured %d", bits.Len(uint(max(0, seconds)*1000)))
}

// usual returns what a part of these kinds is expected to take, with how far it may
// be off, and whether any was seen. The fewer of a kind were seen, the more it is
// judged by the next.
func (r *Rates) usual(kinds []string) (at moment, known bool) {
	var square float64
	for _, k := range slices.Backward(kinds) {
		u := r.Usual[k]
		if n := float64(u.Count); known {
			at.mean = (n*u.Seconds + at.mean) / (n + 1)
			square = (n*u.Square + square) / (n + 1)
		} else {
			at.mean, square, known = u.Seconds, u.Square, u.Count > 0
		}
	}
	at.deviation = math.Sqrt(max(0, square-at.mean*at.mean))
	return at, known
}

// Accustom returns r with what parts took that had not been seen before, by their
// names, each in all of its kinds. It comes before Remember, after which they have
// been seen: what was seen is known by its name, so that what is usual is said of
// the others.
func (r Rates) Accustom(took map[string]time.Duration, kinds map[string][]string) Rates {
	n := r.clone()
	for name, d := range took {
		if _, seen := n.Names[name]; seen {
			continue
		}
		for _, k := range kinds[name] {
			n.Usual[k] = n.Usual[k].take(d)
		}
		if p, removed := strings.CutPrefix(name, RemovalName("")); removed {
			if s, known := n.Names[PackageName(p)]; known {
				n.Usual[configuredKind(s)] = n.Usual[configuredKind(s)].take(d)
			}
		}
	}
	return n
}

// removal predicts removing packages. As long as nobody removed any, it is taken
// for configuring.
func (m *model) removal(gone []ore.Package, b bench) Estimate {
	var seconds, unseen, doubt float64
	guessed := map[string]float64{}
	for _, p := range gone {
		if s, known := m.rates.Names[RemovalName(p.Name)]; known {
			seconds += s
			continue
		}
		w, known := m.have.Weights[p.Digest]
		kinds := RemovalKind(w, known)
		if s, configured := m.rates.Names[PackageName(p.Name)]; configured {
			kinds = slices.Insert(kinds, len(kinds)-1, configuredKind(s))
		}
		u, known := m.rates.usual(kinds)
		if !known {
			unseen++
		}
		guessed[RemovalName(p.Name)] = u.mean
		seconds += u.mean
		doubt = hypot(doubt, u.deviation)
	}
	t := Term{Law: lawName(workRemove, b.host.name()), Amounts: []float64{1, seconds, unseen}, Doubt: doubt}
	m.likeConfiguring(t, lawName(workConfigure, b.host.name()))
	return Estimate{Stage: Remove, Work: float64(len(gone)), Unit: "packages", Guessed: guessed, Branches: [][]Term{{t.on(b.host, 1, b.n)}}}
}

// likeConfiguring has a law of removing that does not know of t's work begin with
// that of configuring. The term keeps its law, which a run then teaches.
func (m *model) likeConfiguring(t Term, configure string) {
	c, l := m.law(configure), m.law(t.Law)
	if l.Knows(t.Amounts) || !c.Knows([]float64{1, 0, 1}) {
		return
	}
	first := l.Calibrated([]float64{c.Coef[0], 1, c.Coef[2]})
	m.laws[t.Law] = &first
}
