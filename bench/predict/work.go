package main

import (
	"math/rand/v2"
	"slices"
	"time"

	"ore"
	"ore/plan"
)

// run is one option on its way through the simulation, with what its host and
// links are like this time.
type run struct {
	*engine
	point  point
	option plan.Option
	clock  time.Time
	told   func(at time.Time, e ore.Event)  // as a watcher of a real run
	read   func(at time.Time, load float64) // as the reader of the load of a real run
	pipes  map[string]*pipe
	host   float64 // this time's factor of the hosts
	starts float64 // of starts
	over   bool
}

// newRun begins a run. Equal seeds give the same conditions to all options of a
// point.
func newRun(p point, o plan.Option, seed uint64) *run {
	rng := rand.New(rand.NewPCG(seed, 1))
	r := &run{
		engine: &engine{rng: rng}, point: p, option: o, clock: time.Unix(0, 0), pipes: map[string]*pipe{},
		told: func(time.Time, ore.Event) {}, read: func(time.Time, float64) {},
	}
	r.host, r.starts = vary(rng, spreadRun), vary(rng, spreadStart)
	names := make([]string, 0, len(p.links))
	for name := range p.links {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		l := &pipe{}
		r.pipes[name] = l
		r.links = append(r.links, l)
		r.flutter(l, p.links[name]*vary(rng, spreadLink))
	}
	r.sample()
	for range p.ask.Hosts {
		// Half of the load is steady, the other half comes and goes,
		// which is half of the time, by twice as many.
		h := &processor{cores: float64(p.site.cores), load: p.load}
		r.hosts = append(r.hosts, h)
		for range int(p.load) / 2 {
			r.disturb(h, true)
			r.disturb(h, false)
		}
	}
	return r
}

// readEvery is how often the load of the first host is read, in seconds.
const readEvery = 0.05

// sample reads the load as a real run does.
func (r *run) sample() {
	r.at(readEvery, func() {
		if h := r.hosts[0]; len(h.active) > 0 {
			at := r.clock.Add(time.Duration(r.now * float64(time.Second)))
			r.read(at, float64(len(h.active))+h.load)
			r.sample()
			return
		} else if !r.over {
			h.idle = append(h.idle, r.sample)
		}
	})
}

// flutter lets a link's rate change, the more often the faster it is.
func (r *run) flutter(l *pipe, rate float64) {
	l.rate = rate * vary(r.rng, spreadFlow)
	if !r.over {
		r.at(2e6/rate+0.2, func() { r.flutter(l, rate) })
	}
}

// disturb is a thread of others that wants a core half of the time. Nothing
// happens to it while its host has nothing to do.
func (r *run) disturb(h *processor, busy bool) {
	r.at(r.rng.ExpFloat64(), func() {
		if len(h.active) == 0 {
			h.idle = append(h.idle, func() { r.disturb(h, busy) })
			return
		}
		if busy {
			h.load--
		} else {
			h.load++
		}
		r.disturb(h, !busy)
	})
}

// cpu gives a host work that takes so many seconds on the reference host.
func (r *run) cpu(h *processor, seconds float64, done func()) {
	r.work(h, seconds*r.host/r.point.site.speed*vary(r.rng, spreadTask), done)
}

// say tells the watcher.
func (r *run) say(e ore.Event) {
	at := r.clock.Add(time.Duration(r.now * float64(time.Second)))
	r.told(at, e)
	r.read(at, float64(len(r.hosts[0].active))+r.hosts[0].load)
}

// road returns the links that a host has to a destination.
func (r *run) road(h int, to string) []*pipe {
	var over []*pipe
	for _, name := range r.point.ask.Hosts[h].Links[to] {
		over = append(over, r.pipes[name])
	}
	return over
}

// request is one transfer: a delay and its bytes.
func (r *run) request(h int, to string, bytes float64, done func()) {
	r.at(r.point.site.delay*vary(r.rng, 0.2), func() {
		over := r.road(h, to)
		if to == plan.Peers {
			over = append(over, r.road(0, to)...)
		}
		r.send(bytes, over, done)
	})
}

// connections is how many files are fetched at once.
const connections = 8

// fetch brings the packages that are lacking to the first host.
func (r *run) fetch(then func()) {
	var lacking []ore.Package
	for _, p := range r.option.Install {
		if !r.point.have.Packs[p.Digest] && !r.point.have.Debs[p.Digest] {
			lacking = append(lacking, p)
		}
	}
	if len(lacking) == 0 {
		then()
		return
	}
	r.say(ore.Event{Stage: plan.Fetch})
	r.each(len(lacking), connections, func(i int, done func()) {
		r.request(0, plan.Mirror, float64(lacking[i].Size), done)
	}, func() {
		r.say(ore.Event{Stage: plan.Fetch, Final: true})
		then()
	})
}

// pull brings layers of the candidate to the first host, in chunks.
func (r *run) pull(then func()) {
	const chunk = 4 << 20
	var chunks []float64
	for _, l := range r.point.have.Candidates[r.option.Candidate].Layers {
		for left := l.Fetch; left > 0; left -= chunk {
			chunks = append(chunks, float64(min(left, chunk)))
		}
	}
	if len(chunks) == 0 {
		then()
		return
	}
	r.say(ore.Event{Stage: plan.Pull})
	r.each(len(chunks), 4, func(i int, done func()) { r.request(0, r.option.At, chunks[i], done) }, func() {
		r.say(ore.Event{Stage: plan.Pull, Final: true})
		then()
	})
}

// build installs on the first host: packages are decoded on all cores, the
// base's first; dpkg configures one package after another; layers are sealed on
// all cores.
func (r *run) build(then func()) {
	h := r.hosts[0]
	var base, rest []ore.Package
	for _, p := range r.option.Install {
		if p.Base && r.option.Way == plan.Clean {
			base = append(base, p)
		} else {
			rest = append(rest, p)
		}
	}
	r.at(0, func() {
		r.cpu(h, r.point.site.spawn, func() {
			if len(rest) == 0 && len(base) == 0 { // nothing but what must go
				r.remove(h, func() { r.seal(h, nil, then) })
				return
			}
			ready := map[string]func(){}
			r.decode(h, base, rest, ready)
			if len(base) == 0 {
				r.whenDecoded(rest, ready, func() { r.phase(h, rest, true, func() { r.seal(h, rest, then) }) })
				return
			}
			r.whenDecoded(base, ready, func() {
				r.phase(h, base, false, func() {
					sealed, packed := false, false
					join := func() {
						if sealed && packed {
							r.seal(h, rest, then)
						}
					}
					r.seal(h, base, func() { sealed = true; join() })
					r.whenDecoded(rest, ready, func() { r.phase(h, rest, true, func() { packed = true; join() }) })
				})
			})
		})
	})
}

// decode starts to decode all packages, the base's first, each time the largest
// first, and calls ready of each as it is done.
func (r *run) decode(h *processor, base, rest []ore.Package, ready map[string]func()) {
	var all []ore.Package
	for _, part := range [][]ore.Package{base, rest} {
		part = slices.Clone(part)
		slices.SortStableFunc(part, func(a, b ore.Package) int { return int(b.Size - a.Size) })
		all = append(all, part...)
	}
	r.each(len(all), r.point.site.cores, func(i int, done func()) {
		t := r.point.site.truth[all[i].Name]
		cost := 0.15 * t.put // to stage it
		if !r.point.have.Packs[all[i].Digest] {
			cost += t.decode
		}
		r.cpu(h, cost, func() {
			if f := ready[all[i].Name]; f != nil {
				f()
			}
			ready[all[i].Name] = nil
			done()
		})
	}, func() {})
}

// whenDecoded calls then once all of a set are decoded.
func (r *run) whenDecoded(set []ore.Package, ready map[string]func(), then func()) {
	left := 0
	for _, p := range set {
		if _, done := ready[p.Name]; done {
			continue
		}
		left++
		ready[p.Name] = func() {
			if left--; left == 0 {
				then()
			}
		}
	}
	if left == 0 {
		then()
	}
}

// phase puts a set of packages into the tree and configures them.
func (r *run) phase(h *processor, set []ore.Package, last bool, then func()) {
	r.each(len(set), r.point.site.cores, func(i int, done func()) {
		r.cpu(h, r.point.site.truth[set[i].Name].put, done)
	}, func() {
		r.remove(h, func() {
			r.each(len(set), 1, func(i int, done func()) {
				r.say(ore.Event{Stage: plan.Configure, Text: set[i].Name + " (1) ..."})
				r.cpu(h, r.point.site.truth[set[i].Name].configure, done)
			}, func() {
				if last {
					r.say(ore.Event{Stage: plan.Configure, Final: true})
				}
				then()
			})
		})
	})
}

// remove has dpkg remove what is too much.
func (r *run) remove(h *processor, then func()) {
	n := len(r.option.Remove)
	if n == 0 {
		then()
		return
	}
	r.say(ore.Event{Stage: plan.Remove})
	r.each(n, 1, func(i int, done func()) {
		p := r.option.Remove[i]
		r.say(ore.Event{Stage: plan.Remove, Text: p.Name + " (1) ..."})
		r.cpu(h, r.point.site.removal(p), done)
	}, func() {
		r.say(ore.Event{Stage: plan.Remove, Final: true})
		then()
	})
}

// sealTasks is in how many tasks a layer is compressed: its blocks are far more,
// but they are alike.
const sealTasks = 64

// seal compresses a layer on all cores.
func (r *run) seal(h *processor, set []ore.Package, then func()) {
	r.say(ore.Event{Stage: plan.Seal})
	var all float64
	for _, p := range set {
		all += r.point.site.truth[p.Name].seal
	}
	r.each(sealTasks, r.point.site.cores, func(_ int, done func()) { r.cpu(h, all/sealTasks, done) }, func() {
		r.cpu(h, 0.02, func() {
			r.say(ore.Event{Stage: plan.Seal, Final: true})
			then()
		})
	})
}
