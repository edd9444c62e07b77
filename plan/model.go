package plan

import (
	"maps"
	"slices"
	"strings"

	"ore"
	"ore/image"
)

// model is one question: what is asked and what exists, with all that is the
// same for each option worked out once.
type model struct {
	ask    Ask
	have   Have
	rates  *Rates
	hosts  []Host            // those that get machines, and the first
	boxes  map[string]int    // machines, of those that have any
	laws   map[string]*Law   // by name
	links  []link            // all of them, by name
	roads  map[string][]road // the links from each host, by destination
	starts map[string]started
}

// road is the links from one host to a destination, by their places in
// model.links.
type road []int

// link is one with its law.
type link struct {
	name, term string // the link's and its law's
	law        *Law
}

// started is the quickest way to start machines.
type started struct {
	stage Estimate
	by    string
}

func newModel(ask Ask, have Have, rates Rates) *model {
	if rates.Version != RatesVersion {
		rates = Rates{}
	}
	if len(have.Links) > 0 {
		rates = rates.Assume("", Calibration{Links: have.Links})
	}
	m := &model{ask: ask, have: have, rates: &rates, boxes: map[string]int{}, laws: map[string]*Law{},
		roads: map[string][]road{}, starts: map[string]started{}}
	for i, h := range ask.hosts() {
		if i > 0 && h.Machines == 0 {
			continue
		}
		m.hosts = append(m.hosts, h)
		if h.Machines > 0 {
			m.boxes[h.Box] += h.Machines
		}
	}
	m.survey()
	return m
}

// survey finds all links, so that they are numbers from here on.
func (m *model) survey() {
	destinations := []string{Mirror, Peers}
	for _, c := range m.have.Candidates {
		if c.At != "" && !slices.Contains(destinations, c.At) {
			destinations = append(destinations, c.At)
		}
	}
	numbers := map[string]int{}
	for _, to := range destinations {
		for _, h := range m.hosts {
			for _, l := range h.way(to) {
				numbers[l] = 0
			}
		}
	}
	for i, l := range slices.Sorted(maps.Keys(numbers)) {
		term := lawName(workFetch, l)
		m.links = append(m.links, link{name: l, term: term, law: m.law(term)})
		numbers[l] = i
	}
	for _, to := range destinations {
		for _, h := range m.hosts {
			var r road
			for _, l := range h.way(to) {
				r = append(r, numbers[l])
			}
			m.roads[to] = append(m.roads[to], r)
		}
	}
}

// head is the host that makes the image.
func (m *model) head() Host { return m.hosts[0] }

// spread says that an image has to reach other hosts.
func (m *model) spread() bool { return len(m.hosts) > 1 }

// way is one way to come to an image, before it is said for whom and how it is
// spread.
type way struct {
	way       Way
	why       string // why it is none
	candidate int
	from      ore.Key
	at        string
	install   []ore.Package
	remove    []ore.Package
	base      bool    // install includes the base set
	layers    []Layer // that it begins with
	restore   int64
	steps     []ore.Step
	done      int  // further steps, whose results are kept; for builds from nothing
	ready     bool // the image exists

	below, over load    // the work of the base set, and of the rest
	made        float64 // bytes of the layers that it makes
}

// ways lists the ways that there are, and those that are none with the reason.
func (m *model) ways() []way {
	env := m.ask.Environment
	all := []way{{way: Exact, candidate: -1, why: "no image with this key"}}
	if e := m.have.Exact; e != nil {
		all[0] = way{way: Exact, candidate: -1, from: e.Key, layers: held(e.Layers), ready: true}
	}
	for i, c := range m.have.Candidates {
		all = append(all, m.candidate(i, c)...)
	}
	for _, name := range m.have.Unasked {
		all = append(all, way{way: Fetched, candidate: -1, at: name, why: "not asked: at its link's rate nothing it may have would come sooner than it is made here"})
	}
	delta := way{way: Delta, candidate: -1, why: "no layer of the base set"}
	if m.have.Base {
		delta = way{way: Delta, candidate: -1, restore: m.have.Restore, steps: env.Steps}
		if m.have.BaseLayer.Digest != "" {
			delta.layers = held([]image.Layer{m.have.BaseLayer})
		}
		for _, p := range env.Packages {
			if !p.Base {
				delta.install = append(delta.install, p)
			}
		}
	}
	return append(all, delta, way{way: Clean, candidate: -1, install: env.Packages, base: true, steps: env.Steps})
}

func held(layers []image.Layer) []Layer {
	all := make([]Layer, len(layers))
	for i, l := range layers {
		all[i] = Layer{Digest: l.Digest, Size: l.Size}
	}
	return all
}

// candidate lists the ways to use the candidate i.
func (m *model) candidate(i int, c Candidate) []way {
	steps := m.ask.Environment.Steps
	w := way{way: Partial, candidate: i, from: c.Key, at: c.At, layers: c.Layers, restore: c.Restore,
		install: c.Missing, remove: c.Extra}
	if c.whole(len(steps)) {
		w.way, w.ready = Fetched, true
		if c.At == "" {
			w.way = Exact
		}
		return []way{w}
	}
	if c.Base {
		w.way = Delta
	}
	for _, s := range steps {
		if !slices.Contains(c.Steps, s.Name) {
			w.steps = append(w.steps, s)
		}
	}
	if len(c.Missing) > 0 || len(w.steps) > 0 || !c.Files {
		return []way{w}
	}
	super := w
	super.way, super.remove, super.ready = Superset, nil, true
	switch {
	case len(c.Extra) == 0 && !m.ask.Superset:
		super.why = "its packages were asked for in other words: what apt takes for asked for is another"
	case m.ask.Locked:
		super.why = "a lock asks for exactly its packages"
	case !m.ask.Superset:
		super.why = "an image with more packages than asked is not allowed"
	}
	return []way{super, w}
}

// options lists how w can be done: made once and spread in each of the ways
// that the hosts allow, and by each machine for itself.
func (m *model) options(w way) []Option {
	base, rest := w.split()
	w.below, w.over, w.made = m.load(base, m.have.Packs), m.load(rest, m.have.Packs), m.made(w)
	var all []Option
	spreads := []Distribution{None}
	if m.spread() {
		spreads = []Distribution{Direct}
		if m.ask.Chain {
			spreads = append(spreads, Chain)
		}
	}
	if len(m.ask.Disk) > 0 && m.ask.Machines > 0 {
		return m.onDisks(w, spreads)
	}
	for _, d := range spreads {
		o := m.once(w, d, "")
		if m.spread() && !slices.ContainsFunc(o.Stages, func(e Estimate) bool { return e.Stage == Distribute }) {
			o.Distribution = None // the hosts have all of it
			return append(all, o)
		}
		all = append(all, o)
	}
	if m.ask.Each && m.ask.Machines > 0 && !w.ready && w.at == "" && (w.way == Delta || w.way == Clean) {
		all = append(all, m.each(w))
	}
	return all
}

// once predicts making the image on the first host and spreading it.
func (m *model) once(w way, d Distribution, strategy string) Option {
	if w.way != Partial { // what steps did in builds from nothing is not taken upon an image
		w.steps, w.done = m.undone(w.steps)
	}
	o := newOption(w)
	o.Distribution, o.Strategy = d, strategy
	t := newTraffic(m)
	straight := w.ready && m.spread() && !m.ask.Elsewhere // as it comes from the cache, it goes to the hosts
	if w.at != "" && !straight {
		o.Stages = append(o.Stages, m.pull(w, t))
	}
	if w.at != "" && w.ready && !straight {
		o.Stages = append(o.Stages, m.register())
	}
	if !w.ready {
		o.Stages = append(o.Stages, m.fetchDebs(w, t))
		o.Stages = append(o.Stages, m.build(w, m.head(), 1)...)
	}
	written := w.lacks(Host{})
	if strategy == FromDisk {
		written = m.whole(&o, written)
		w = way{layers: []Layer{{Size: int64(written)}}}
	}
	if m.spread() {
		o.Stages = append(o.Stages, m.distribute(w, d, t))
	}
	switch start := m.start(m.ask.Starts, Start); {
	case m.ask.Machines == 0:
	case len(m.ask.Disk) > 0:
		o.Stages, o.Start = append(o.Stages, m.installing(strategy, written, nil)...), start.by
	default:
		o.Stages, o.Start = append(o.Stages, start.stage), start.by
	}
	return m.finish(o, t)
}

// each predicts that machines start with what is there, install the rest, each
// for itself, and start again.
func (m *model) each(w way) Option {
	o := newOption(w)
	o.Each, o.Distribution = true, None
	t := newTraffic(m)
	base, rest := w.split() // what its host has decoded is of no use to a machine
	w.below, w.over = m.load(base, nil), m.load(rest, nil)
	start := m.start(m.ask.Starts, Start)
	o.Start = start.by
	o.Stages = append(o.Stages, start.stage, m.fetchEach(w, t))
	o.Stages = append(o.Stages, m.slowestBuild(w)...)
	o.Stages = append(o.Stages, m.start(m.ask.Restarts, Restart).stage)
	m.jointly(o.Stages)
	return m.finish(o, t)
}

// jointly has the last of some who go through stages, each for itself, be late as in
// the sum of these: who is late in one stage is not in each, so that not the stages'
// deviations add up, but their squares.
func (m *model) jointly(stages []Estimate) {
	var sum, joint float64
	for i := range stages {
		e := &stages[i]
		e.Late = 0
		mean := m.moment(e, nil).mean
		late := mean - mean/(1+e.Late)
		sum, joint = sum+late, hypot(joint, late)
	}
	for i := range stages {
		if sum > 0 {
			stages[i].Joint = joint / sum
		}
	}
}

// slowestBuild predicts installing on the host that takes longest. Hosts with
// the same cores, load, machines and rates take the same.
func (m *model) slowestBuild(w way) []Estimate {
	type kind struct {
		cores, machines int
		load            float64
		rates           string
	}
	seen := map[kind]bool{}
	var slowest []Estimate
	longest := -1.0
	for _, h := range m.hosts {
		k := kind{cores: h.Cores, machines: m.boxes[h.Box], load: h.Load}
		if _, own := m.rates.Laws[lawName(workUnpack, h.name())]; own {
			k.rates = h.name()
		}
		if seen[k] {
			continue
		}
		seen[k] = true
		// What a machine installs for itself is its disk's: there is no layer.
		stages := slices.DeleteFunc(m.build(w, h, k.machines), func(e Estimate) bool { return e.Stage == Seal })
		var s float64
		for i := range stages {
			if stages[i].Stage == Configure {
				stages[i].Draws = len(m.boxes) // the longest stage, by which the last host is late: its machines share what makes it so
			}
			s += m.moment(&stages[i], nil).mean
		}
		if s > longest {
			slowest, longest = stages, s
		}
	}
	return slowest
}

func newOption(w way) Option {
	return Option{Way: w.way, Possible: true, Candidate: w.candidate, From: w.from, At: w.at, Install: w.install, Remove: w.remove, Steps: w.steps}
}

// finish adds up what the stages take. Times of one law err together, those of
// different laws apart: deviations of one law add up, those of several do as the
// sides of a right angle.
func (m *model) finish(o Option, t *traffic) Option {
	o.Stages = slices.DeleteFunc(o.Stages, func(e Estimate) bool { return len(e.Branches) == 0 })
	o.unknown = map[string]float64{}
	o.Known = true
	var total moment
	byLaw := map[string]float64{}
	for i := range o.Stages {
		e := &o.Stages[i]
		at := m.moment(e, o.unknown)
		e.Seconds = at.span(m.rates.width())
		o.Known = o.Known && e.Known
		total.mean += at.mean
		byLaw[e.Branches[0][0].Law] += at.deviation
	}
	for _, law := range slices.Sorted(maps.Keys(byLaw)) {
		total.deviation = hypot(total.deviation, byLaw[law])
	}
	o.Total = total.span(m.rates.width())
	o.Links = t.list()
	return o
}

// moment predicts a stage: its branches run side by side, so that the last one
// counts. What was never measured is left out, noted in unknown, and the stage
// is then not known.
func (m *model) moment(e *Estimate, unknown map[string]float64) moment {
	e.Known = true
	var at moment
	for i, branch := range e.Branches {
		var b moment
		byLaw := map[string]float64{}
		for _, t := range branch {
			law := m.law(t.Law)
			if !law.Knows(t.Amounts) {
				e.Known = false
				if unknown != nil {
					unknown[pool(t.Law)] += amount(law, t.Amounts)
				}
				continue
			}
			b.mean += t.Times() * law.Seconds(t.Amounts)
			byLaw[t.Law] += t.Times() * law.Deviation(t.Amounts)
			b.deviation = hypot(b.deviation, t.Times()*t.Doubt)
		}
		for _, law := range slices.Sorted(maps.Keys(byLaw)) {
			b.deviation = hypot(b.deviation, byLaw[law])
		}
		if i == 0 {
			at = b
		} else {
			at = later(at, b)
		}
	}
	if e.Draws > 1 {
		e.Late = slowest(e.Draws) * m.law(e.Branches[0][0].Law).Shown()
		if e.Joint > 0 {
			e.Late *= e.Joint
		}
		at.mean *= 1 + e.Late
	}
	return at
}

// Again predicts the option once more, by other rates: its seconds, and whether
// all of them are known.
func (o Option) Again(rates Rates) (seconds float64, known bool) {
	m := &model{rates: &rates, laws: map[string]*Law{}}
	known = true
	for _, e := range o.Stages {
		seconds += m.moment(&e, nil).mean
		known = known && e.Known
	}
	return seconds, known
}

// amount is how much unknown work there is, in the unit that comes last: bytes,
// packages, machines.
func amount(l *Law, amounts []float64) float64 {
	for i, a := range slices.Backward(amounts) {
		if a > 0 && !l.KnowsAmount(i) {
			return a
		}
	}
	return 0
}

func (m *model) law(name string) *Law {
	if l, ok := m.laws[name]; ok {
		return l
	}
	kind, _, _ := strings.Cut(name, "@")
	l := m.rates.named(name).Related(alike(kind))
	m.laws[name] = &l
	return &l
}
