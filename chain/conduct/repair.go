package conduct

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"ore/chain"
	"ore/chain/set"
	"ore/chain/shape"
)

const (
	// maxBlame is how many receivers may be slow before their source is.
	maxBlame = 2
	// maxLosses is how often a receiver may lose the root of a stripe before it
	// gets another source.
	maxLosses = 3
	// maxRepairs for each receiver bounds what complaints can bring about: a
	// network in which everybody loses everybody is not made better by more.
	maxRepairs = 8
	// inventoryTimeout bounds the wait for what receivers hold when the source
	// is lost.
	inventoryTimeout = 500 * time.Millisecond
	// maxRoots bounds who take the source's place together.
	maxRoots = 16
)

// hear takes in what a member's goroutine tells.
func (r *run) hear(e event) {
	m := e.member
	switch {
	case m.lost != nil:
	case e.err != nil:
		r.lose(m, e.err)
	case e.session != nil:
		m.session = e.session
	default:
		r.learn(m, e.report)
	}
}

// learn takes in a report.
func (r *run) learn(m *member, report chain.Report) {
	now := time.Now()
	if m.heard.IsZero() {
		m.before = report.Traffic.In
	}
	if report.Chunks > m.report.Chunks {
		r.advanced, m.gained = now, now
	}
	if report.Taken > m.report.Taken {
		m.fed = now
	}
	m.resume(now, r.every)
	m.report, m.heard = report, now
	if report.Broken != "" {
		r.lose(m, errors.New(report.Broken))
		return
	}
	if m != r.source && report.Whole && m.whole.IsZero() {
		m.whole = now
		r.announce(m)
	}
	if m != r.source && report.Chunks > 0 {
		r.foretell(m)
	}
	if report.Ready && !m.ready {
		m.ready = true
		if m != r.source {
			r.awaited, r.present = r.awaited-1, r.present+1
		}
		if m != r.source && !r.started.IsZero() {
			m.index = r.shape.Join()
			r.placed = append(r.placed, m)
			r.dispatch()
		}
	}
	r.measure(m, now)
	if report.Have != nil && !r.asked.IsZero() {
		r.reroot(now)
	}
	for _, f := range report.Flows {
		if f.Stripe == probeStripe {
			r.judge(m, f)
		} else {
			r.complaint(m, f)
		}
	}
}

// measure notes how many chunks of each stripe a member holds.
func (r *run) measure(m *member, now time.Time) {
	if m.index < 0 {
		return
	}
	if m.pace == nil {
		m.pace = make([]pace, len(r.stripes))
	}
	if len(m.most) != len(r.stripes) {
		m.most = make([]int, len(r.stripes))
	}
	m.taken.add(now, int(m.report.Taken), r.windowOf(m))
	for _, f := range m.report.Flows {
		if f.Stripe < len(m.pace) && f.Stripe >= 0 && f.Of == r.stripes[f.Stripe].Count() {
			m.most[f.Stripe] = max(m.most[f.Stripe], f.Held)
			m.pace[f.Stripe].add(now, f.Held, r.windowOf(m))
		}
	}
}

// lose takes a member out for good.
func (r *run) lose(m *member, cause error) {
	switch {
	case m == r.source || !m.alive():
	case m.ready:
		r.present--
	default:
		r.awaited--
	}
	m.lost = cause
	if m.session != nil {
		// Where it still hears it lets go of the blob, which another transfer may send
		// it again. A peer that cannot be told forgets by itself.
		_ = m.session.Order(chain.Order{Kind: chain.Release, Blob: r.blob})
	}
	if r.started.IsZero() {
		return
	}
	if m.index >= 0 {
		r.shape.Remove(m.index)
	}
	r.repaired(m, "lost: "+cause.Error())
	if slices.Contains(r.roots, m) {
		r.ask()
		return
	}
	r.dispatch()
}

// complaint is what a receiver says of a source that it lost.
func (r *run) complaint(m *member, f chain.Flow) {
	if f.Cause == "" || f.Stripe < 0 || f.Stripe >= len(m.parents) || len(r.repairs) > maxRepairs*len(r.placed) {
		return
	}
	p := m.parents[f.Stripe]
	if p == nil || p.host.Name != f.Source || !p.alive() {
		return // of an earlier order
	}
	if r.wrong(m, f) {
		return
	}
	if slices.Contains(r.roots, p) {
		switch {
		case f.Wrong:
			r.doubt(m, p, f.Cause)
		case f.Lost >= maxLosses && !r.shape.Demoted(m.index):
			r.demote(m, "cannot reach "+f.Source)
		}
		return
	}
	moved := r.shape.Demoted(m.index) || r.shape.Trails(m.index)
	switch {
	case moved && !f.Wrong: // nobody else waits there: its word changes its own place alone
		if f.Lost >= maxLosses {
			r.reseat(m, f.Cause)
		}
	case r.believes(m, p):
		why := "lost by " + m.host.Name + ": " + f.Cause
		if f.Wrong {
			r.demote(p, why)
		} else {
			r.trail(p, why) // perhaps it is only busy, and can feed those that are, too
		}
	default:
		r.reseat(m, f.Cause)
	}
}

// demote makes a member a leaf.
func (r *run) demote(m *member, why string) {
	if m.index < 0 || slices.Contains(r.roots, m) {
		return
	}
	r.shape.Demote(m.index)
	r.repaired(m, "moved to the tail: "+why)
	r.dispatch()
}

// watch looks for what no report says.
func (r *run) watch(now time.Time) {
	for _, m := range append([]*member{r.source}, r.members...) {
		if m.active() && now.Sub(m.heard) > silentAfter {
			r.lose(m, fmt.Errorf("hear of host %s: nothing for %v", m.host.Name, silentAfter))
		}
	}
	if now.Sub(r.advanced) > stallTimeout {
		r.giveUp(fmt.Errorf("no chunk came anywhere for %v", stallTimeout))
	}
	if r.started.IsZero() {
		return
	}
	if !r.asked.IsZero() {
		if now.Sub(r.asked) > inventoryTimeout {
			r.reroot(now)
		}
		return
	}
	r.stalls(now)
	if now.Sub(r.changed) < r.window() {
		return
	}
	r.pauses(now)
	if m, p := r.slowest(); m != nil {
		if p.blamed++; p.blamed >= maxBlame && p.index >= 0 && !r.shape.Demoted(p.index) && !slices.Contains(r.roots, p) {
			m = p
		}
		r.moved++
		r.trail(m, "slow")
		return
	}
	r.probe()
}

// ask asks all receivers what they hold, since a root is lost.
func (r *run) ask() {
	r.asked = time.Now()
	for _, m := range r.placed {
		m.report.Have = nil
		if m.active() {
			r.order(m, true)
		}
	}
	r.reroot(r.asked)
}

// reroot puts those who hold the chunks in the place of the lost root, when all
// have answered or there is no more time.
func (r *run) reroot(now time.Time) {
	late := now.Sub(r.asked) > inventoryTimeout
	for _, m := range r.placed {
		if m.active() && m.report.Have == nil && !late {
			return
		}
	}
	r.asked = time.Time{}
	roots, stripes, ok := r.cover()
	if !ok {
		r.err = ErrLost
		return
	}
	r.follow(roots, stripes)
}

// cover finds few receivers that hold all chunks together, and what each is to
// feed: always the one that holds most of the rest.
func (r *run) cover() (roots []*member, stripes []set.Set, ok bool) {
	rest := set.Full(r.blob.Chunks)
	for rest.Count() > 0 {
		var best *member
		most := 0
		for _, m := range r.placed {
			if m.active() && m.report.Have != nil {
				if n := rest.Shared(*m.report.Have); n > most {
					best, most = m, n
				}
			}
		}
		if best == nil || len(roots) == maxRoots {
			return nil, nil, false
		}
		after := rest.Without(*best.report.Have)
		roots, stripes = append(roots, best), append(stripes, rest.Without(after))
		rest = after
	}
	return roots, stripes, len(roots) > 0
}

// follow draws chains from new roots.
func (r *run) follow(roots []*member, stripes []set.Set) {
	gone := make([]bool, len(r.placed))
	order := make([]int, len(r.placed))
	for i, m := range r.placed {
		gone[i], order[i] = !m.active(), i
	}
	slices.SortStableFunc(order, func(a, b int) int { // who has most has most to give
		return cmp.Compare(r.placed[b].report.Chunks, r.placed[a].report.Chunks)
	})
	var indexes []int
	for _, m := range roots {
		indexes = append(indexes, m.index)
	}
	seconds := r.shape.Seconds
	r.shape = shape.Rooted(gone, order, indexes)
	r.shape.Seconds = seconds
	r.stripes, r.roots, r.probing = stripes, roots, nil
	for _, m := range r.placed {
		m.parents, m.most = nil, nil
	}
	r.repaired(roots[0], fmt.Sprintf("feeds the others, with %d more", len(roots)-1))
	r.dispatch()
}
