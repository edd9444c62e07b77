package main

import (
	"time"

	"ore"
	"ore/plan"
)

// whole simulates an option from the first byte to the last machine. It returns
// seconds, and the timeline as a job's would be.
func (r *run) whole() (float64, ore.Timeline) {
	if r.option.Each {
		return r.installEach(), nil
	}
	ready := -1.0
	r.image(func() { ready = r.now })
	r.run(func() bool { return ready >= 0 })
	made := r.now
	spread := -1.0
	r.say(ore.Event{Stage: plan.Distribute})
	r.distribute(func() { spread = r.now })
	r.run(func() bool { return spread >= 0 })
	r.say(ore.Event{Stage: plan.Distribute, Final: true})
	begun := r.now
	up := 0
	r.startAll(func() { up++ })
	r.run(func() bool { return up == r.point.ask.Machines })
	r.over = true
	at := func(s float64) time.Time { return r.clock.Add(time.Duration(s * float64(time.Second))) }
	return r.now, ore.Timeline{
		{Name: "image", Start: at(0), End: at(made)},
		{Name: "start", Start: at(begun), End: at(r.now)},
		{Name: "boot", Machine: "m0", Start: at(begun), End: at(r.now)},
	}
}

// image gets the image to the first host.
func (r *run) image(then func()) {
	o := r.option
	switch {
	case o.Way == plan.Exact || o.Way == plan.Superset && o.At == "":
		r.at(0, then)
	case o.Way == plan.Fetched || o.Way == plan.Superset:
		if len(r.point.ask.Hosts) > 1 {
			r.at(0, then) // it comes with what the others get
			return
		}
		r.pull(then)
	case o.At != "":
		r.pull(func() { r.fetch(func() { r.build(then) }) })
	default:
		r.fetch(func() { r.build(then) })
	}
}

// lacks returns what host h must get.
func (r *run) lacks(h int) float64 {
	o, p := r.option, r.point
	host := p.ask.Hosts[h]
	var layers []plan.Layer
	switch {
	case o.Candidate >= 0:
		layers = p.have.Candidates[o.Candidate].Layers
	case p.have.Base:
		layers = []plan.Layer{{Digest: p.have.BaseLayer.Digest, Size: p.have.BaseLayer.Size}}
	}
	var b float64
	if o.Way == plan.Clean {
		layers = nil
	}
	for _, l := range layers {
		if h == 0 {
			b += float64(l.Fetch)
		} else {
			b += float64(max(0, l.Size-host.Holds[l.Digest]))
		}
	}
	if h > 0 && o.Way != plan.Superset {
		b += float64(p.site.layer(o.Install))
	}
	return b
}

// distribute brings the image to all other hosts.
func (r *run) distribute(then func()) {
	n := len(r.point.ask.Hosts)
	if n == 1 {
		r.at(0, then)
		return
	}
	fromCache := r.option.At != "" && (r.option.Way == plan.Fetched || r.option.Way == plan.Superset)
	if r.option.Distribution == plan.Chain {
		r.at(r.chain(fromCache), then)
		return
	}
	first, to := 1, plan.Peers
	if fromCache {
		first, to = 0, r.option.At
	}
	r.each(n-first, n, func(i int, done func()) {
		if b := r.lacks(i + first); b > 0 {
			r.request(i+first, to, b, done)
			return
		}
		r.at(0, done)
	}, then)
}

// piece is what is passed on at a time.
const piece = 256 << 10

// chain passes pieces from host to host: each begins with a piece when it has
// it and has sent the one before. Its links change from piece to piece.
func (r *run) chain(fromCache bool) float64 {
	pieces := 0
	for h := range r.point.ask.Hosts {
		pieces = max(pieces, int(r.lacks(h)/piece)+1)
	}
	has := make([]float64, pieces) // when the host before has each piece
	hop := func(rate, bytes float64) {
		n := int(bytes/piece) + 1
		slow := vary(r.rng, spreadLink)
		t := r.point.site.delay
		var moment float64
		factor := 1.0
		for j := range has {
			if j < pieces-n { // it holds these already
				has[j] = 0
				continue
			}
			t = max(t, has[j]+r.point.site.delay)
			if t >= moment {
				factor, moment = vary(r.rng, spreadFlow), t+2e6/rate+0.2
			}
			t += piece / (rate * slow * factor)
			has[j] = t
		}
	}
	hosts := r.point.ask.Hosts
	if fromCache {
		hop(r.point.links[hosts[0].Links["cache"][0]], r.lacks(0))
	}
	for i := range hosts[1:] {
		hop(r.point.links[hosts[i+1].Links[plan.Peers][0]], r.lacks(i+1))
	}
	var last float64
	for _, t := range has {
		last = max(last, t)
	}
	return last
}

// startAll starts all machines, and calls up for each.
func (r *run) startAll(up func()) {
	n, hosts := r.point.ask.Machines, len(r.hosts)
	for i := range n {
		r.boot(r.hosts[i%hosts], 1, up)
	}
}

func (r *run) boot(h *processor, share float64, up func()) {
	s := r.point.site
	r.at(s.wait*r.starts*vary(r.rng, spreadBoot)*share, func() {
		r.work(h, s.boot*r.starts*r.host/s.speed*vary(r.rng, spreadBoot)*share, up)
	})
}

// parts is in how many tasks a machine's own installation is simulated: enough
// for those of one host to mix.
const parts = 6

// installEach has every machine start, fetch, install and start again.
func (r *run) installEach() float64 {
	up := 0
	n, hosts := r.point.ask.Machines, len(r.hosts)
	var bytes float64
	var sum truth
	for _, p := range r.option.Install {
		t := r.point.site.truth[p.Name]
		bytes += float64(p.Size)
		sum.decode += t.decode + 0.15*t.put
		sum.put += t.put
		sum.configure += t.configure
	}
	cores := r.point.site.cores
	for i := range n {
		h := r.hosts[i%hosts]
		again := func() {
			r.at(r.point.site.kexec*r.starts*vary(r.rng, spreadBoot), func() {
				r.work(h, r.point.site.boot*r.starts*r.host/r.point.site.speed, func() { up++ })
			})
		}
		configure := func() {
			r.each(parts, 1, func(_ int, done func()) { r.cpu(h, sum.configure/parts, done) }, again)
		}
		unpack := func() {
			r.each(cores, cores, func(_ int, done func()) { r.cpu(h, (sum.decode+sum.put)/float64(cores), done) }, configure)
		}
		r.boot(h, 1, func() {
			r.request(i%hosts, plan.Mirror, bytes, func() { r.cpu(h, r.point.site.spawn, unpack) })
		})
	}
	r.run(func() bool { return up == n })
	r.over = true
	return r.now
}
