package plan

import (
	"fmt"
	"math"
	"slices"

	"ore"
)

// load is the work of installing a set of packages.
type load struct {
	packages int
	decode   float64 // bytes of .debs that were never decoded
	largest  float64 // bytes of the largest of these, which one core decodes
	put      float64 // bytes of all .debs
	seconds  float64 // that configuring took before, of the packages with a known time
	scripts  float64 // of the other packages
	bytes    float64 // of the other packages
}

// load weighs packages; packs are those that were decoded before.
func (m *model) load(packages []ore.Package, packs map[ore.Digest]bool) load {
	l := load{packages: len(packages)}
	for _, p := range packages {
		size := float64(p.Size)
		l.put += size
		if !packs[p.Digest] {
			l.decode += size
			l.largest = max(l.largest, size)
		}
		if s, known := m.rates.Names[PackageName(p.Name)]; known {
			l.seconds += s
			continue
		}
		l.bytes += size
		if w, known := m.have.Weights[p.Digest]; known {
			l.scripts += float64(w.Scripts)
		} else {
			l.scripts++
		}
	}
	return l
}

// build predicts installing on host h when n machines or builds do so at once
// in its box: the stages between having the packages and the finished image.
func (m *model) build(w way, h Host, n int) []Estimate {
	var stages []Estimate
	if w.base {
		stages = m.cleanStages(w.below, w.over, h, n)
	} else {
		stages = m.overStages(w, w.over, h, n)
	}
	if len(w.steps)+w.done > 0 {
		e := m.steps(w.steps, h, n)
		if w.done > 0 {
			e.Note = fmt.Sprintf("%d more were done before", w.done)
		}
		stages = append(stages, e)
	}
	return stages
}

// split parts what is installed into the base set and what lies over it. What
// lies over an image that exists is all one.
func (w way) split() (base, rest []ore.Package) {
	if !w.base {
		return nil, w.install
	}
	for _, p := range w.install {
		if p.Base {
			base = append(base, p)
		} else {
			rest = append(rest, p)
		}
	}
	return base, rest
}

// bench is a host on which n pieces of the same work run at once.
type bench struct {
	host Host
	n    int
}

// unpack is the work of unpacking a set: beginning is one thread's, the rest
// all cores'.
func (b bench) unpack(l load) []Term {
	return []Term{b.unpacking(1, []float64{1, 0, 0}), b.unpacking(b.host.cores(), []float64{0, b.decode(l), l.put})}
}

func (b bench) unpacking(threads int, amounts []float64) Term {
	return Term{Law: lawName(workUnpack, b.host.name()), Amounts: amounts}.on(b.host, threads, b.n)
}

// decode returns the bytes to decode: all on all cores, and no less than the
// largest package takes on its one.
func (b bench) decode(l load) float64 {
	return max(l.decode, l.largest*float64(b.host.cores()))
}

// configure is one thread's work; as a part of what all cores do it takes its
// share of them.
func (b bench) configure(l load) Term {
	t := Term{Law: lawName(workConfigure, b.host.name()), Amounts: []float64{1, l.seconds, l.scripts, l.bytes}}
	return t.on(b.host, 1, b.n)
}

func (b bench) configureShare(l load) Term {
	t := b.configure(l)
	for i := range t.Amounts {
		t.Amounts[i] /= float64(b.host.cores())
	}
	return t.on(b.host, b.host.cores(), b.n)
}

// seal is the work of sealing a layer: beginning and ending is one thread's, the
// rest all cores'.
func (b bench) seal(bytes float64) []Term {
	law := lawName(workSeal, b.host.name())
	return []Term{
		Term{Law: law, Amounts: []float64{1, 0}}.on(b.host, 1, b.n),
		Term{Law: law, Amounts: []float64{0, bytes}}.on(b.host, b.host.cores(), b.n),
	}
}

// cleanStages is the critical path of a build from nothing. Packages are decoded
// on all cores, the base's first. While dpkg configures the base on one core,
// the others decode what lies over it; while that is unpacked and configured,
// they seal the base. Two things at once take as long as the longer one, and no
// less than all of their work takes on all cores.
func (m *model) cleanStages(base, rest load, h Host, n int) []Estimate {
	s := bench{h, n}
	stages := []Estimate{
		{Stage: Unpack, Note: "base", Work: base.put, Unit: "bytes",
			Branches: [][]Term{s.unpack(base)}},
	}
	if rest.packages == 0 {
		return append(stages,
			Estimate{Stage: Configure, Work: float64(base.packages), Unit: "packages", Branches: [][]Term{{s.configure(base)}}},
			Estimate{Stage: Seal, Work: base.put, Unit: "bytes", Branches: [][]Term{s.seal(base.put)}})
	}
	first := Estimate{Stage: Configure, Note: "base", Work: float64(base.packages), Unit: "packages",
		Branches: [][]Term{{s.configure(base)}}}
	if rest.decode > 0 {
		first.Note += ", beside decoding the rest"
		first.Branches = append(first.Branches, []Term{s.configureShare(base), s.unpacking(h.cores(), []float64{0, s.decode(rest), 0})})
	}
	put := s.unpacking(h.cores(), []float64{0, 0, rest.put})
	second := Estimate{Stage: Configure, Note: "the rest, beside sealing the base", Work: float64(rest.packages), Unit: "packages",
		Branches: [][]Term{
			{s.configure(rest), put},
			append([]Term{s.configureShare(rest), put}, s.seal(base.put)...),
		}}
	return append(stages, first, second,
		Estimate{Stage: Seal, Work: rest.put, Unit: "bytes", Branches: [][]Term{s.seal(rest.put)}})
}

// overStages is a build over an image that exists: one thing after the other.
func (m *model) overStages(w way, l load, h Host, n int) []Estimate {
	s := bench{h, n}
	var stages []Estimate
	if w.restore > 0 {
		stages = append(stages, m.restore(float64(w.restore), s))
	}
	if l.packages > 0 || w.restore > 0 {
		stages = append(stages, Estimate{Stage: Unpack, Work: l.put, Unit: "bytes", Branches: [][]Term{s.unpack(l)}})
	}
	if len(w.remove) > 0 {
		stages = append(stages, m.removal(w.remove, s))
	}
	if l.packages > 0 {
		stages = append(stages, Estimate{Stage: Configure, Work: float64(l.packages), Unit: "packages",
			Branches: [][]Term{{s.configure(l)}}})
	}
	if len(stages) > 0 {
		stages = append(stages, Estimate{Stage: Seal, Work: l.put, Unit: "bytes", Branches: [][]Term{s.seal(l.put)}})
	}
	return stages
}

// undone parts steps into those that run on the first host, and how many have results
// there that are kept.
func (m *model) undone(steps []ore.Step) (run []ore.Step, done int) {
	for _, s := range steps {
		if slices.Contains(m.have.Steps, s.Name) {
			done++
		} else {
			run = append(run, s)
		}
	}
	return run, done
}

func (m *model) steps(steps []ore.Step, h Host, n int) Estimate {
	var seconds, unknown float64
	for _, st := range steps {
		if s, known := m.rates.Names[StepName(st.Run)]; known {
			seconds += s
		} else {
			unknown++
		}
	}
	t := Term{Law: lawName(workSteps, h.name()), Amounts: []float64{seconds, unknown}}
	if n > 1 {
		t = t.on(h, 1, n) // of one alone nobody knows whether it wants a core, or waits for a link
	}
	return Estimate{Stage: Steps, Work: float64(len(steps)), Unit: "steps", Branches: [][]Term{{t}}}
}

func hypot(a, b float64) float64 { return math.Sqrt(a*a + b*b) }
