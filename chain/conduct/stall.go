package conduct

import (
	"fmt"
	"slices"
	"time"

	"ore/chain"
	"ore/chain/turn"
)

// A hop that is dead, silent or slower than others is found by what it says, or by
// comparing it. One that is alive and gives nothing, or takes nothing, is found
// here: by what its source has for it, and by the time. Neither of the two is
// believed more than the other: both become leaves, so that nobody waits for
// either, and the one who was in the right has another source then.

const (
	// stallChecks is how often that is looked for; it costs a look at all hosts.
	stallChecks = time.Second
	// chunksLate is for how many chunks' time, as they came to the best host, a hop
	// may take nothing: on a slow network one chunk takes long.
	chunksLate = 8
	// leastRate is what a network is taken to carry as long as nothing has come, bytes
	// a second. On a slower one (500 kbit/s are 62,500) a hop or two is moved in vain.
	leastRate = 50e3
)

// stalls looks for receivers that take in nothing of what their sources have.
func (r *run) stalls(now time.Time) {
	if now.Sub(r.checked) < stallChecks {
		return
	}
	r.checked = now
	patient := r.stallPatience()
	for _, m := range slices.Clone(r.placed) {
		if !m.active() || !m.whole.IsZero() || len(m.parents) != len(r.stripes) {
			continue
		}
		from := r.offers(m)
		if len(from) == 0 {
			m.idle = time.Time{}
			continue
		}
		if m.idle.IsZero() {
			m.idle = now
		}
		idle := now.Sub(latest(m.idle, m.gained))
		limit := patient
		if now.Sub(m.fed) < patience { // other blobs come: they may go first
			limit = max(limit, turn.MaxYield+patience)
		}
		switch {
		case idle > stallTimeout:
			r.lose(m, fmt.Errorf("no chunk came to host %s for %v, though %s has some%s", m.host.Name, stallTimeout, from[0].host.Name, m.complains()))
		case idle > limit && now.Sub(latest(m.turned, m.judged)) > limit && len(r.repairs) <= maxRepairs*len(r.placed):
			m.judged = now
			for _, p := range from {
				r.stalled(m, p, fmt.Sprintf("no chunk came from %s to %s for %v", p.host.Name, m.host.Name, idle.Round(stallChecks)))
			}
		}
	}
}

// stallPatience is how long nothing may come where something could.
func (r *run) stallPatience() time.Duration {
	most := int64(0) // bytes that came to one host
	for _, m := range r.placed {
		most = max(most, m.report.Traffic.In-m.before)
	}
	chunk := float64(r.blob.Size) / float64(max(r.blob.Chunks, 1))
	if most == 0 {
		return patience + time.Duration(chunk/leastRate*float64(time.Second))
	}
	return max(patience, time.Duration(chunksLate*chunk/float64(most)*float64(r.advanced.Sub(r.started))))
}

// offers returns those of a member's sources that say they have chunks for it.
func (r *run) offers(m *member) (from []*member) {
	for k, p := range m.parents {
		if p != nil && p.alive() && r.claims(p, k) > r.claims(m, k) && !slices.Contains(from, p) {
			from = append(from, p)
		}
	}
	return from
}

// claims is how many chunks of a stripe a member has, or had once, as it says.
func (r *run) claims(m *member, k int) int {
	if m == r.roots[k] || !m.whole.IsZero() {
		return r.stripes[k].Count()
	}
	if k < len(m.most) {
		return m.most[k]
	}
	return 0
}

// stalled sees to a receiver and a source between which nothing goes.
func (r *run) stalled(m, p *member, why string) {
	if slices.Contains(r.roots, p) {
		if p.index >= 0 { // a receiver that took the source's place
			r.doubt(m, p, why)
		}
		r.leave(m, why)
		return
	}
	if r.believes(m, p) {
		r.demote(p, why)
		r.leave(m, why)
		return
	}
	r.reseat(m, why)
}

// leave makes a member a leaf for whom others wait.
func (r *run) leave(m *member, why string) {
	if m.alive() && m.index >= 0 && !r.shape.Demoted(m.index) && !r.shape.Leaf(m.index) {
		r.demote(m, why)
	}
}

// believes says whether what a member says of its source is to be believed: its
// word counts against so many others and no more, lest one host makes leaves of all.
func (r *run) believes(m, p *member) bool {
	m.accused[p] = true
	return len(m.accused) < maxBlame
}

// reseat sees to a member that complains of whomever it is given: it becomes a
// leaf, and if it still complains it is fed by the source itself.
func (r *run) reseat(m *member, why string) {
	switch {
	case !r.shape.Demoted(m.index):
		r.demote(m, "complains of more than one source: "+why)
	case !m.seated:
		m.seated = true
		r.shape.Seat(m.index)
		r.repaired(m, "fed by the source: "+why)
		r.dispatch()
	}
}

// doubt takes in that a receiver says of a root what would end the root's part.
// One host's word must not do that to all others: it takes more than half of them,
// and each that says so makes room for another, who sees for itself.
func (r *run) doubt(m, p *member, why string) {
	p.doubted[m] = true
	active, doubts := 0, 0
	for _, o := range r.placed {
		if o.active() {
			active++
			doubts += btoi(p.doubted[o])
		}
	}
	if 2*doubts > active {
		r.lose(p, fmt.Errorf("source %s: %s", p.host.Name, why))
		return
	}
	if !r.shape.Demoted(m.index) {
		r.demote(m, "complains of the source, as nobody else does: "+why)
	}
}

// wrong sees to a receiver for whom all bytes are wrong, whoever sends them: there
// is nothing left to try.
func (r *run) wrong(m *member, f chain.Flow) bool {
	if !f.Wrong || f.Lost < maxLosses || !r.shape.Demoted(m.index) || !slices.Contains(r.roots, m.parents[f.Stripe]) {
		return false
	}
	r.lose(m, fmt.Errorf("what comes to host %s from %s is wrong: %s", m.host.Name, f.Source, f.Cause))
	return true
}

// complains is what a member says of its sources, for an error's text.
func (m *member) complains() string {
	for _, f := range m.report.Flows {
		if f.Cause != "" {
			return ": " + f.Cause
		}
	}
	return ""
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
