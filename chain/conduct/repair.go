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
	// slowPart of the best rate is what a hop must take in to stay where it is.
	// A hop that waits for a core is below a half for a third of a second; one with
	// a tenth of the link is below a third for good.
	slowPart = 0.33
	// settling is how long a hop that got another source is not judged: its
	// connection begins slowly, on links that others fill.
	settling = 2 * time.Second
	// leastLag is how many chunks a hop must be behind its source, beside what
	// comes in between two reports, before it is called slow.
	leastLag = 8
	// leastMoved and movedPart of all are how many hops are moved for being slow:
	// where more of them seem to be, it is not they.
	leastMoved, movedPart = 2, 4
	// maxBlame is how many receivers may be slow before their source is.
	maxBlame = 2
	// maxLosses is how often a receiver may lose the root of a stripe before it
	// gets another source.
	maxLosses = 3
	// maxRepairs for each receiver bounds what complaints can bring about: a
	// network in which everybody loses everybody is not made better by more.
	maxRepairs = 8
	// probeWorth is how long a transfer must go on for the first hop to be
	// compared with others.
	probeWorth = 3 * time.Second
	// probeChunks is how many chunks tell a rate: fewer are over before the
	// connection is up to speed, more would delay the rest.
	probeChunks = 6
	// probePart of what the probe's rate is must be the first hop's for it to
	// stay: a few chunks say little, so the difference must be plain.
	probePart = 0.4
	// maxProbes bounds what may be spent on that.
	maxProbes = 3
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
	for _, f := range m.report.Flows {
		if f.Stripe < len(m.pace) && f.Stripe >= 0 && f.Of == r.stripes[f.Stripe].Count() {
			m.most[f.Stripe] = max(m.most[f.Stripe], f.Held)
			m.pace[f.Stripe].add(now, f.Held, r.window())
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
	switch {
	case r.believes(m, p):
		r.demote(p, "lost by "+m.host.Name+": "+f.Cause)
	case !r.shape.Demoted(m.index) || f.Wrong || f.Lost >= maxLosses: // who is dead is found otherwise, and sooner
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

// trail moves a slow member to where nobody waits for it but those that are slow, too.
func (r *run) trail(m *member) {
	if m.index < 0 || slices.Contains(r.roots, m) {
		return
	}
	r.shape.Trail(m.index)
	r.moved++
	r.repaired(m, "moved to the tail: slow")
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
	if m, p := r.slowest(); m != nil {
		if p.blamed++; p.blamed >= maxBlame && p.index >= 0 && !r.shape.Demoted(p.index) && !slices.Contains(r.roots, p) {
			m = p
		}
		r.trail(m)
		return
	}
	r.probe()
}

// slowest finds the hop that takes in much less than its source has, and that
// lets others wait. All below it take in as little as it does, but are not
// behind it. What counts is all that a host takes in: streams that share a link
// share it unevenly, and a host whose source has little of one of the stripes to
// give is as fast as all others that have the rest. If nothing moves anywhere much faster than here, it is the source, or
// the cores of one computer, that all wait for.
func (r *run) slowest() (slow, source *member) {
	if r.moved >= max(leastMoved, len(r.placed)/movedPart) {
		return nil, nil
	}
	best, rates := r.intake()
	worst := 0.0
	for i, m := range r.placed {
		if rates[i] < 0 || rates[i] >= slowPart*best/float64(len(r.stripes)) || !m.whole.IsZero() || r.shape.Demoted(i) || r.shape.Leaf(i) {
			continue
		}
		if r.hasStripe(m) || !m.turned.IsZero() && time.Since(m.turned) < settling {
			continue
		}
		for k, p := range m.parents {
			if p == nil {
				continue
			}
			lag := max(leastLag, best/float64(len(r.stripes))*r.window().Seconds())
			behind := lag // of a root there is no telling: others decide
			if p != r.roots[k] && p.pace != nil {
				behind = float64(p.pace[k].held() - m.pace[k].held())
			} else if len(r.stripes) == 1 {
				continue
			}
			if behind >= lag && behind > worst {
				worst, slow, source = behind, m, p
			}
		}
	}
	return slow, source
}

// hasStripe says whether a member has all of a stripe: then it is not slow, even if
// it waits for its share of a link for the rest.
func (r *run) hasStripe(m *member) bool {
	for k := range r.stripes {
		if m.pace[k].held() == r.stripes[k].Count() {
			return true
		}
	}
	return false
}

// window is over which time rates are measured, and how long nobody is judged
// after a repair: twice as long with each hop that was moved for being slow, since
// each move opens connections, that begin slowly and take from others. Where links
// are shared by stripes it takes longer until shares say something.
func (r *run) window() time.Duration {
	return min(max(leastWindow, reportsToJudge*r.every)*time.Duration(max(1, len(r.stripes)))<<min(r.moved, maxDoublings), maxWindow)
}

// intake is what each member takes in of all stripes together, chunks a second,
// and the most of it; below zero for whom it was not measured yet.
func (r *run) intake() (best float64, rates []float64) {
	rates = make([]float64, len(r.placed))
	for i, m := range r.placed {
		rates[i] = -1
		if !m.active() || m.pace == nil {
			continue
		}
		sum, all := 0.0, true
		for k := range r.stripes {
			rate, ok := m.pace[k].rate(r.window())
			if ok {
				sum += rate
			}
			all = all && (ok || k < len(m.parents) && m.parents[k] == nil || m.pace[k].held() == r.stripes[k].Count())
		}
		best = max(best, sum)
		if all {
			rates[i] = sum
		}
	}
	return best, rates
}

// probe judges the first hop of a chain, whom nobody is ahead of, once its rate
// is known: the hop behind it fetches a few chunks from the source itself. If
// the source's link is busy they come no faster than the rest, and cost their
// own time; if they come much faster, the first hop is slow. Nobody asks while
// the first hop is as fast as it was declared to be.
func (r *run) probe() {
	if len(r.stripes) != 1 || r.probing != nil || r.probes == maxProbes {
		return
	}
	head := r.head()
	if head == nil {
		return
	}
	rate, ok := head.pace[0].rate(r.window())
	left := float64(r.stripes[0].Count() - head.pace[0].held())
	if !ok || left < rate*probeWorth.Seconds() {
		return
	}
	r.probed = r.probed && rate >= slowPart*r.peak
	r.peak = max(r.peak, rate)
	declared := head.host.Down * float64(r.blob.Chunks) / float64(max(r.blob.Size, 1))
	if r.probed || declared > 0 && rate >= slowPart*declared {
		return
	}
	r.probed = true
	next := slices.IndexFunc(r.placed, func(m *member) bool {
		return m.active() && m.whole.IsZero() && len(m.parents) == 1 && m.parents[0] == head
	})
	if next < 0 {
		return
	}
	r.probes++
	r.probing, r.probeRate = r.placed[next], rate
	r.order(r.probing, false)
}

// head is the first hop of a chain, if others wait for it.
func (r *run) head() *member {
	i := slices.IndexFunc(r.placed, func(m *member) bool {
		return m.active() && m.whole.IsZero() && m.pace != nil && len(m.parents) == 1 && m.parents[0] == r.roots[0]
	})
	if i < 0 || r.shape.Leaf(i) {
		return nil
	}
	return r.placed[i]
}

// sample is the few chunks near the end that a probe fetches: they are missing
// everywhere, and needed. Each probe has its own, since those of earlier ones
// have gone from host to host meanwhile.
func (r *run) sample() set.Set {
	s := set.New(r.blob.Chunks)
	seq := r.blob.Sequence()
	end := max(0, len(seq)-(r.probes-1)*probeChunks)
	for _, i := range seq[max(0, end-probeChunks):end] {
		s.Add(i)
	}
	return s
}

// judge ends a probe whose chunks have come.
func (r *run) judge(m *member, f chain.Flow) {
	if m != r.probing || f.Held < f.Of {
		return
	}
	r.probing = nil
	head := r.head()
	if head == nil || len(m.parents) != 1 || m.parents[0] != head || float64(f.Of-1)*probePart < r.probeRate*f.Within.Seconds() {
		return
	}
	r.peak, r.probed = 0, false // the next one is judged too
	r.trail(head)
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
