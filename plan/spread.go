package plan

import (
	"cmp"
	"slices"

	"ore"
)

// chunk is what a host of a chain has of a blob before it passes it on.
const chunk = 256 << 10

// traffic adds up what goes over the links, by their places in model.links.
type traffic struct {
	model *model
	bytes []float64
}

func newTraffic(m *model) *traffic {
	return &traffic{model: m, bytes: make([]float64, len(m.links))}
}

func (t *traffic) list() []Traffic {
	var all []Traffic
	for i, b := range t.bytes {
		if b > 0 {
			all = append(all, Traffic{Link: t.model.links[i].name, Bytes: int64(b)})
		}
	}
	return all
}

// flow is what one stage sends: requests and bytes, by link.
type flow [][2]float64

func (t *traffic) flow() flow { return make(flow, len(t.bytes)) }

func (f flow) add(r road, requests, bytes float64) {
	for _, l := range r {
		f[l][0] += requests
		f[l][1] += bytes
	}
}

// busy is a link with its time in one stage.
type busy struct {
	term    Term
	seconds float64
	shown   float64 // the spread of its law
}

// over makes a stage of the slowest link of a flow, and counts its bytes. All
// links work at once. Of k links that each take at least so long, the last is
// later than one would be, so the stage takes the longest of these for any k.
func (t *traffic) over(e Estimate, f flow) Estimate {
	var all []busy
	var unknown []Term
	for i := range f {
		if f[i][1] == 0 {
			continue
		}
		t.bytes[i] += f[i][1]
		name, l := t.model.links[i].term, t.model.links[i].law
		if !l.Knows(f[i][:]) {
			if unknown == nil || f[i][1] > unknown[0].Amounts[1] {
				unknown = []Term{{Law: name, Amounts: f[i][:]}}
			}
			continue
		}
		all = append(all, busy{Term{Law: name, Amounts: f[i][:]}, l.Seconds(f[i][:]), l.Shown()})
	}
	slices.SortStableFunc(all, func(a, b busy) int { return cmp.Compare(b.seconds, a.seconds) })
	var longest float64
	at := -1
	for k, b := range all {
		if s := b.seconds * (1 + slowest(k+1)*b.shown); at < 0 || s > longest {
			at, longest = k, s
		}
	}
	if at >= 0 {
		e.Branches, e.Draws = [][]Term{{all[at].term}}, at+1
	}
	if unknown != nil { // first, so that nothing is added for late ones
		e.Branches, e.Draws = append([][]Term{unknown}, e.Branches...), 1
	}
	return e
}

// pull predicts fetching what is held too little of the layers that w begins
// with, to the first host.
func (m *model) pull(w way, t *traffic) Estimate {
	e := Estimate{Stage: Pull, Unit: "bytes", Note: "from " + w.at}
	f := t.flow()
	for _, l := range w.layers {
		if l.Fetch > 0 {
			e.Work += float64(l.Fetch)
			f.add(m.roads[w.at][0], 1, float64(l.Fetch))
		}
	}
	return t.over(e, f)
}

// fetchDebs predicts fetching the packages that are neither kept nor decoded.
func (m *model) fetchDebs(w way, t *traffic) Estimate {
	e := Estimate{Stage: Fetch, Unit: "bytes"}
	n, bytes := m.lacking(w.install)
	if n == 0 {
		return e
	}
	e.Work = bytes
	f := t.flow()
	f.add(m.roads[Mirror][0], n, bytes)
	return t.over(e, f)
}

func (m *model) lacking(packages []ore.Package) (n, bytes float64) {
	for _, p := range packages {
		if !m.have.Packs[p.Digest] && !m.have.Debs[p.Digest] {
			n++
			bytes += float64(p.Size)
		}
	}
	return n, bytes
}

// fetchEach predicts that every machine fetches all that it installs: what its
// host keeps is of no use to it.
func (m *model) fetchEach(w way, t *traffic) Estimate {
	e := Estimate{Stage: Fetch, Note: "by each machine", Unit: "bytes"}
	bytes := debs(w.install)
	f := t.flow()
	for i, h := range m.hosts {
		n := float64(h.Machines)
		e.Work += n * bytes
		f.add(m.roads[Mirror][i], n*float64(len(w.install)), n*bytes)
	}
	if bytes == 0 {
		return e
	}
	return t.over(e, f)
}

// made returns the bytes of what is made anew, and of a base whose layer is not
// named.
func (m *model) made(w way) float64 {
	if w.ready {
		return 0
	}
	factor := m.rates.Layer
	if factor == 0 {
		factor = 1 // both are the same files, compressed
	}
	var bytes float64
	for _, p := range w.install {
		bytes += factor * float64(p.Size)
	}
	for _, p := range m.ask.Environment.Packages {
		if p.Base && !w.base && len(w.layers) == 0 {
			bytes += factor * float64(p.Size)
		}
	}
	return bytes
}

// lacks returns what host h must get of an image: what it does not hold of the
// layers that exist, and all of what is made anew.
func (w way) lacks(h Host) float64 {
	bytes := w.made
	for _, l := range w.layers {
		bytes += float64(max(0, l.Size-h.Holds[l.Digest]))
	}
	return bytes
}

// distribute predicts bringing the image to all hosts.
//
// Direct: every host fetches from where the image is, which is a cache if it
// exists only there; a link that all share carries all of it. Chain: the first
// host gets it, and each passes every chunk on as it comes; the last one has it
// one chunk and one delay a host later. Where machines run elsewhere, the image comes
// from the first host, which has had it whole before.
func (m *model) distribute(w way, d Distribution, t *traffic) Estimate {
	e := Estimate{Stage: Distribute, Unit: "bytes", Note: string(d)}
	f := t.flow()
	if w.at != "" && w.ready && !m.ask.Elsewhere {
		var lacking float64
		for _, l := range w.layers {
			lacking += float64(l.Fetch)
		}
		e.Note += " from " + w.at
		f.add(m.roads[w.at][0], 1, lacking)
		if d == Direct {
			for i, h := range m.hosts[1:] {
				b := w.lacks(h)
				e.Work += b
				f.add(m.roads[w.at][i+1], 1, b)
			}
			e.Work += lacking
			return t.over(e, f)
		}
		e.Work += lacking
	}
	hops := float64(len(m.hosts) - 2)
	for i, h := range m.hosts[1:] {
		b := w.lacks(h)
		e.Work += b
		switch {
		case b == 0:
		case d == Chain && i == len(m.hosts)-2:
			f.add(m.roads[Peers][i+1], 1+hops, b+hops*min(chunk, b))
		case d == Chain:
			f.add(m.roads[Peers][i+1], 1, b)
		default:
			f.add(m.roads[Peers][i+1], 1, b)
			f.add(m.roads[Peers][0], 1, b)
		}
	}
	if e.Work == 0 {
		return e
	}
	return t.over(e, f)
}

// start predicts starting all machines in the quickest of the given ways. A
// host's machines share its cores.
func (m *model) start(ways []string, stage string) started {
	if s, done := m.starts[stage]; done {
		return s
	}
	if len(ways) == 0 {
		ways = []string{""}
	}
	var best started
	var shortest float64
	for i, by := range ways {
		e := m.startBy(by, stage)
		at := m.moment(&e, nil)
		if i == 0 || e.Known && (!best.stage.Known || at.mean < shortest) {
			best, shortest = started{stage: e, by: by}, at.mean
		}
	}
	m.starts[stage] = best
	return best
}

// machines returns the term as work of machines of a host.
func (m *model) machines(t Term, h Host, threads, copies int) Term {
	if m.ask.Apart {
		return t
	}
	return t.on(h, threads, copies)
}

// Restarts returns the seconds that machines with disks of their own take to start again
// in one of the ways of Ask.Restarts, and whether that is known.
func (r Rates) Restarts(by string) (seconds float64, known bool) {
	l, one := r.Laws[lawName(Restart+" "+by, Here)], []float64{1, 1}
	return l.Seconds(one), l.Knows(one)
}

func (m *model) startBy(by, stage string) Estimate {
	kind := stage
	if by != "" {
		kind += " " + by
	}
	e := Estimate{Stage: stage, Note: by, Work: float64(m.ask.Machines), Unit: "machines", Draws: len(m.boxes)}
	var longest float64
	for _, h := range m.hosts {
		n := m.boxes[h.Box]
		if n == 0 {
			continue
		}
		name := lawName(kind, h.name())
		first := Term{Law: name, Amounts: []float64{1, 0}} // what a machine waits for, others or not
		rounds := max(1, float64(n)/float64(h.cores()))
		all := m.machines(Term{Law: name, Amounts: []float64{0, rounds}}, h, n, 1)
		l := m.law(name)
		s := first.Times()*l.Seconds(first.Amounts) + all.Times()*l.Seconds(all.Amounts)
		if known := l.Knows([]float64{1, 1}); e.Branches == nil || s > longest || !known {
			e.Branches, longest = [][]Term{{first, all}}, s
		}
	}
	return e
}
