package plan

import (
	"math"

	"ore"
)

// load is the work of installing a set of packages.
type load struct {
	packages int
	decode   float64 // bytes of .debs that were never decoded
	put      float64 // bytes of all .debs
	seconds  float64 // that configuring took before, of the packages with a known time
	scripts  float64 // of the other packages
	bytes    float64 // of the other packages
}

func (m *model) load(packages []ore.Package) load {
	l := load{packages: len(packages)}
	for _, p := range packages {
		size := float64(p.Size)
		l.put += size
		if !m.have.Packs[p.Digest] {
			l.decode += size
		}
		if s, known := m.rates.Names[packageName(p.Name)]; known {
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
	if len(w.steps) > 0 {
		stages = append(stages, m.steps(w.steps, h, n))
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

// sharing is how much longer work takes on a host: that of one thread, and that
// of all cores.
type sharing struct {
	host             string
	serial, parallel float64
	cores            float64
}

func share(h Host, n int) sharing {
	return sharing{host: h.name(), serial: h.serial(max(1, n)), parallel: h.parallel(max(1, n)), cores: h.cores()}
}

func (s sharing) unpack(runs, decode, put, restore float64) Term {
	p := s.parallel
	return Term{Law: lawName(workUnpack, s.host), Amounts: []float64{runs * p, decode * p, put * p, restore * p}}
}

// configure is one thread's work; as a part of what all cores do it takes its
// share of them.
func (s sharing) configure(l load) Term {
	return Term{Law: lawName(workConfigure, s.host),
		Amounts: []float64{s.serial, l.seconds * s.serial, l.scripts * s.serial, l.bytes * s.serial}}
}

func (s sharing) configureShare(l load) Term {
	f := s.parallel / s.cores
	return Term{Law: lawName(workConfigure, s.host), Amounts: []float64{f, l.seconds * f, l.scripts * f, l.bytes * f}}
}

func (s sharing) seal(runs, bytes float64) Term {
	return Term{Law: lawName(workSeal, s.host), Amounts: []float64{runs * s.parallel, bytes * s.parallel}}
}

// cleanStages is the critical path of a build from nothing. Packages are decoded
// on all cores, the base's first. While dpkg configures the base on one core,
// the others decode what lies over it; while that is unpacked and configured,
// they seal the base. Two things at once take as long as the longer one, and no
// less than all of their work takes on all cores.
func (m *model) cleanStages(base, rest load, h Host, n int) []Estimate {
	s := share(h, n)
	stages := []Estimate{
		{Stage: Unpack, Note: "base", Work: base.put, Unit: "bytes",
			Branches: [][]Term{{s.unpack(1, base.decode, base.put, 0)}}},
	}
	if rest.packages == 0 {
		return append(stages,
			Estimate{Stage: Configure, Work: float64(base.packages), Unit: "packages", Branches: [][]Term{{s.configure(base)}}},
			Estimate{Stage: Seal, Work: base.put, Unit: "bytes", Branches: [][]Term{{s.seal(1, base.put)}}})
	}
	first := Estimate{Stage: Configure, Note: "base", Work: float64(base.packages), Unit: "packages",
		Branches: [][]Term{{s.configure(base)}}}
	if rest.decode > 0 {
		first.Note += ", beside decoding the rest"
		first.Branches = append(first.Branches, []Term{s.configureShare(base), s.unpack(0, rest.decode, 0, 0)})
	}
	second := Estimate{Stage: Configure, Note: "the rest, beside sealing the base", Work: float64(rest.packages), Unit: "packages",
		Branches: [][]Term{
			{s.configure(rest), s.unpack(0, 0, rest.put, 0)},
			{s.configureShare(rest), s.unpack(0, 0, rest.put, 0), s.seal(1, base.put)},
		}}
	return append(stages, first, second,
		Estimate{Stage: Seal, Work: rest.put, Unit: "bytes", Branches: [][]Term{{s.seal(1, rest.put)}}})
}

// overStages is a build over an image that exists: one thing after the other.
func (m *model) overStages(w way, l load, h Host, n int) []Estimate {
	s := share(h, n)
	var stages []Estimate
	if l.packages > 0 || w.restore > 0 {
		stages = append(stages, Estimate{Stage: Unpack, Work: l.put, Unit: "bytes",
			Branches: [][]Term{{s.unpack(1, l.decode, l.put, float64(w.restore))}}})
	}
	if k := len(w.remove); k > 0 {
		stages = append(stages, m.removal(k, s))
	}
	if l.packages > 0 {
		stages = append(stages, Estimate{Stage: Configure, Work: float64(l.packages), Unit: "packages",
			Branches: [][]Term{{s.configure(l)}}})
	}
	if len(stages) > 0 {
		stages = append(stages, Estimate{Stage: Seal, Work: l.put, Unit: "bytes", Branches: [][]Term{{s.seal(1, l.put)}}})
	}
	return stages
}

// removal predicts removing k packages. As long as nobody removed any, it is
// taken for configuring as many scripts, which is what dpkg runs in both.
func (m *model) removal(k int, s sharing) Estimate {
	t := Term{Law: lawName(workRemove, s.host), Amounts: []float64{s.serial, float64(k) * s.serial}}
	if !m.law(t.Law).Knows(t.Amounts) {
		if c := lawName(workConfigure, s.host); m.law(c).Knows([]float64{1, 0, 1}) {
			t = Term{Law: c, Amounts: []float64{s.serial, 0, float64(k) * s.serial}}
		}
	}
	return Estimate{Stage: Remove, Work: float64(k), Unit: "packages", Branches: [][]Term{{t}}}
}

func (m *model) steps(steps []ore.Step, h Host, n int) Estimate {
	var seconds, unknown float64
	for _, st := range steps {
		if s, known := m.rates.Names[stepName(st.Run)]; known {
			seconds += s
		} else {
			unknown++
		}
	}
	f := h.serial(max(1, n))
	return Estimate{Stage: Steps, Work: float64(len(steps)), Unit: "steps",
		Branches: [][]Term{{{Law: lawName(workSteps, h.name()), Amounts: []float64{seconds * f, unknown * f}}}}}
}

func hypot(a, b float64) float64 { return math.Sqrt(a*a + b*b) }
