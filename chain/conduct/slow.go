package conduct

import (
	"slices"
	"time"

	"ore/chain"
	"ore/chain/set"
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
	// alonePart of all hosts is how many may be slow at once, each behind another
	// source: where more seem to be they wait for something that they have in common.
	alonePart = 8
	// moveCost is how long connections take that a move opens, behind what is queued.
	moveCost = 500 * time.Millisecond
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
)

// trail moves a member to where nobody waits for it but those that were moved later.
func (r *run) trail(m *member, why string) {
	if m.index < 0 || slices.Contains(r.roots, m) {
		return
	}
	r.shape.Trail(m.index)
	r.repaired(m, "moved to the tail: "+why)
	r.dispatch()
}

// slowest finds the hop that takes in much less than its source has, and that
// lets others wait. All below it take in as little as it does, but are not
// behind it. What counts is all that a host takes in, of this blob and of others:
// streams that share a link share it unevenly, and one of two blobs may have to wait
// for what goes first of the other. If nothing moves anywhere much faster than here,
// it is the source, or the cores of one computer, that all wait for; so it is if many
// hosts are slow, each for itself. Who takes his time is not slow, unless others wait
// for what he leaves for later.
func (r *run) slowest() (slow, source *member) {
	if r.moved >= max(leastMoved, len(r.placed)/movedPart) {
		return nil, nil
	}
	best, rates := r.intake()
	worst := 0.0
	sources, waited := map[*member]bool{}, r.waited()
	for i, m := range r.placed {
		if rates[i] < 0 || rates[i] >= slowPart*best/float64(len(r.stripes)) || !m.whole.IsZero() || r.shape.Demoted(i) || r.shape.Leaf(i) {
			continue
		}
		if m.report.Leisure && !waited[m] || r.hasStripe(m) || !m.turned.IsZero() && time.Since(m.turned) < settling || !r.worth(m, best, rates[i]) {
			continue
		}
		if behind, p := r.behind(m, best); p != nil {
			sources[p] = true
			if behind > worst {
				worst, slow, source = behind, m, p
			}
		}
	}
	if len(sources) > max(1, len(r.placed)/alonePart) {
		return nil, nil
	}
	return slow, source
}

// waited returns whom others wait for where they may take their time themselves: a
// child that has time does not wait, nor does one that lacks what goes first, which
// those above it that have time have.
func (r *run) waited() map[*member]bool {
	if !slices.ContainsFunc(r.placed, func(m *member) bool { return m.report.Leisure }) {
		return nil
	}
	all := map[*member]bool{}
	for _, m := range r.placed {
		if m.active() && m.whole.IsZero() && m.report.Ahead && !m.report.Leisure {
			for _, p := range m.parents {
				all[p] = true
			}
		}
	}
	return all
}

// behind is by how many chunks a member is behind its source, and behind which, if
// that is more than comes in between two reports; best is in chunks a second.
func (r *run) behind(m *member, best float64) (most float64, source *member) {
	lag := max(leastLag, best/r.chunk()/float64(len(r.stripes))*r.window().Seconds())
	for k, p := range m.parents {
		if p == nil {
			continue
		}
		behind := lag // of a root there is no telling: others decide
		if p != r.roots[k] && p.pace != nil {
			behind = float64(p.pace[k].held() - m.pace[k].held())
		} else if len(r.stripes) == 1 {
			continue
		}
		if behind >= lag && behind > most {
			most, source = behind, p
		}
	}
	return most, source
}

// chunk is how many bytes a chunk has, more or less.
func (r *run) chunk() float64 {
	return float64(max(r.blob.Size, 1)) / float64(max(r.blob.Chunks, 1))
}

// worth says whether those who wait for a member gain more by its being moved than
// that costs them, if it goes on like this.
func (r *run) worth(m *member, best, rate float64) bool {
	left := float64(r.blob.Chunks-m.report.Chunks) * r.chunk()
	return rate <= 0 || left/rate-left/best > moveCost.Seconds()
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

// windowOf is over which time a member's rate is measured: pauses must not count.
// Those that it makes alone keep it from being judged for a shorter time: reports
// of a host on a slow link are late, too.
func (r *run) windowOf(m *member) time.Duration {
	return min(max(r.window(), pausesInWindow*r.paused, pausesInWindow/2*m.paused), maxWindow)
}

// pauses notes the longest pause but one: a host that pauses alone has no cause that
// it shares with others.
func (r *run) pauses(now time.Time) {
	longest := time.Duration(0)
	r.paused = 0
	for _, m := range r.placed {
		if !m.active() || !m.whole.IsZero() || now.Sub(m.resumed) > maxWindow {
			continue
		}
		r.paused = max(r.paused, min(longest, m.paused))
		longest = max(longest, m.paused)
	}
}

// intake is what each member takes in of all blobs and stripes together, bytes a
// second, and the most of it; below zero for whom it was not measured yet.
func (r *run) intake() (best float64, rates []float64) {
	rates = make([]float64, len(r.placed))
	for i, m := range r.placed {
		rates[i] = -1
		if !m.active() || m.pace == nil {
			continue
		}
		window := r.windowOf(m)
		sum, all := m.taken.rate(window)
		for k := range r.stripes {
			_, ok := m.pace[k].rate(window)
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
	rate, ok := head.pace[0].rate(r.windowOf(head))
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
	if head == nil || len(m.parents) != 1 || m.parents[0] != head {
		return
	}
	taken, _ := head.taken.rate(r.windowOf(head)) // meanwhile, and of all blobs
	if float64(f.Of-1)*probePart < max(r.probeRate, taken/r.chunk())*f.Within.Seconds() {
		return
	}
	r.peak, r.probed = 0, false // the next one is judged too
	r.moved++
	r.trail(head, "slow")
}
