package conduct

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ore/chain"
	"ore/chain/set"
	"ore/chain/shape"
)

const (
	// startGrace is how long the first bytes wait for receivers that are not
	// ready when half of them are; the others join late.
	startGrace = 300 * time.Millisecond
	// tickEvery is how often the run looks for what has become slow.
	tickEvery = 50 * time.Millisecond
	// reportEvery is how often each of up to manyHosts peers reports; more of
	// them report less often, so that the conductor hears as much per second, but
	// not less often than crowdReport: what is slow must be found while it matters.
	reportEvery = 50 * time.Millisecond
	manyHosts   = 32
	crowdReport = 150 * time.Millisecond
	// maxReports is how many reports the conductor hears in a second at most, as long
	// as each peer says something in maxReport: they cost it a tenth of a core, and a
	// tenth of a link of 100 Mbit/s.
	maxReports = 2500
	maxReport  = time.Second
	// probeStripe marks the chunks of a probe among the stripes.
	probeStripe = -1
	// releaseTimeout bounds how long peers may take to hang up at the end.
	releaseTimeout = 2 * time.Second
	// stallTimeout is after how long without a single chunk anywhere a transfer
	// is given up, and without a report a peer.
	stallTimeout = time.Minute
	silentAfter  = 5 * time.Second
)

// run is one blob under way. All its fields but the channels belong to the
// goroutine of conduct.
type run struct {
	conductor *Conductor
	blob      chain.Blob
	grant     chain.Grant
	every     time.Duration
	joins     chan *waiter
	quits     chan *waiter
	events    chan event
	ended     chan struct{}

	source    *member
	members   []*member // all receivers
	present   int       // how many of them are ready and not lost
	awaited   int       // how many are neither
	placed    []*member // by their index in the shape
	waiters   []*waiter
	shape     shape.Shape
	stripes   []set.Set
	roots     []*member // who feeds each stripe
	begun     time.Time
	started   time.Time // zero until the first orders
	halfDone  time.Time // when half the receivers were ready
	advanced  time.Time // when a chunk came somewhere the last time
	changed   time.Time // when the shape changed the last time
	checked   time.Time // when stalls were looked for
	probed    bool      // the first hop was judged
	probing   *member   // fetches from the root what tells whether the first hop is slow
	probes    int
	probeRate float64       // of the first hop then, chunks a second
	moved     int           // how many hops were moved for being slow
	paused    time.Duration // for how long more than one host said nothing, of late
	peak      float64       // the best rate of a first hop, chunks a second
	asked     time.Time     // when holders were asked what they have; zero if not
	repairs   []Repair
	err       error
	serving   sync.WaitGroup
}

func newRun(c *Conductor, t Transfer) *run {
	r := &run{
		conductor: c, blob: t.Blob, grant: chain.NewGrant(),
		joins: make(chan *waiter), quits: make(chan *waiter), events: make(chan event), ended: make(chan struct{}),
		source: newMember(t.Source), begun: time.Now(), advanced: time.Now(),
	}
	r.grant.Blobs = []chain.Digest{t.Blob.Digest}
	r.every = every(len(t.Receivers))
	return r
}

// every is how often each of so many peers reports.
func every(hosts int) time.Duration {
	few := reportEvery * time.Duration(1+hosts/manyHosts)
	many := max(crowdReport, time.Duration(hosts)*time.Second/maxReports)
	return min(few, many, maxReport)
}

func newMember(h Host) *member {
	return &member{host: h, index: -1, accused: map[*member]bool{}, doubted: map[*member]bool{}}
}

// conduct is the run's life. It has no caller's context, since callers come and
// go: it ends when nobody waits any more.
func (r *run) conduct() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.engage(ctx, r.source)
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case w := <-r.joins:
			r.join(ctx, w)
		case w := <-r.quits:
			r.quit(w)
		case e := <-r.events:
			r.hear(e)
		case now := <-tick.C:
			r.watch(now)
		}
		if r.started.IsZero() && r.mayStart(time.Now()) {
			r.start()
		}
		if r.settle() {
			break
		}
	}
	r.release(cancel)
}

// engage begins to talk to a peer.
func (r *run) engage(ctx context.Context, m *member) {
	r.serving.Add(1)
	go func() {
		defer r.serving.Done()
		r.serve(ctx, m)
	}()
}

// join takes in the receivers of one more request.
func (r *run) join(ctx context.Context, w *waiter) {
	known := map[string]*member{}
	for _, m := range r.members {
		if m.alive() {
			known[m.host.Address] = m
		}
	}
	for _, h := range w.transfer.Receivers {
		m := known[h.Address]
		if m == nil {
			m = newMember(h)
			known[h.Address] = m
			r.members = append(r.members, m)
			r.awaited++
			r.engage(ctx, m)
		}
		w.members = append(w.members, m)
	}
	r.waiters = append(r.waiters, w)
	for i, m := range w.members {
		if w.transfer.Done != nil && !m.whole.IsZero() {
			w.transfer.Done(r.outcome(w, i))
		}
	}
}

func (r *run) quit(w *waiter) {
	i := slices.Index(r.waiters, w)
	if i < 0 {
		return // it has its result
	}
	r.waiters = slices.Delete(r.waiters, i, i+1)
	w.result <- verdict{Result: r.result(w), err: context.Canceled, last: len(r.waiters) == 0}
}

// settle gives results to those for whom nothing more can come, and says
// whether the run is over.
func (r *run) settle() bool {
	if r.err == nil && !r.source.alive() && r.started.IsZero() {
		r.err = fmt.Errorf("%w: %w", ErrSource, r.source.lost)
	}
	var rest, done []*waiter
	for _, w := range r.waiters {
		if r.err == nil && slices.ContainsFunc(w.members, func(m *member) bool { return m.alive() && m.whole.IsZero() }) {
			rest = append(rest, w)
		} else {
			done = append(done, w)
		}
	}
	over := len(rest) == 0 && len(r.members) > 0 // before the first request there are none
	r.waiters = rest
	for i, w := range done {
		v := verdict{Result: r.result(w), last: over && i == len(done)-1}
		if slices.ContainsFunc(v.Hosts, func(o Outcome) bool { return o.Err != nil }) {
			v.err = r.err
		}
		w.result <- v
	}
	return over
}

// giveUp ends the transfer for those who do not have the blob yet. Where others
// have it, it is they for whom nothing comes, and no fault of all.
func (r *run) giveUp(cause error) {
	if !slices.ContainsFunc(r.members, func(m *member) bool { return !m.whole.IsZero() }) {
		r.err = cause
		return
	}
	for _, m := range r.members {
		if m.alive() && m.whole.IsZero() {
			r.lose(m, fmt.Errorf("host %s: %w%s", m.host.Name, cause, m.complains()))
		}
	}
	r.advanced = time.Now()
}

// announce tells those who want to know that a receiver has the blob.
func (r *run) announce(m *member) {
	for _, w := range r.waiters {
		if i := slices.Index(w.members, m); w.transfer.Done != nil && i >= 0 {
			w.transfer.Done(r.outcome(w, i))
		}
	}
}

// foretell tells those who want to know how a receiver stands.
func (r *run) foretell(m *member) {
	for _, w := range r.waiters {
		if w.transfer.Coming == nil || !m.whole.IsZero() {
			continue
		}
		if i := slices.Index(w.members, m); i >= 0 {
			o := r.outcome(w, i)
			o.Err = nil // it is still to come
			w.transfer.Coming(o)
		}
	}
}

// outcome is what became of a waiter's receiver number i, which another request may
// have called by another name.
func (r *run) outcome(w *waiter, i int) Outcome {
	m := w.members[i]
	o := Outcome{Host: w.transfer.Receivers[i].Name, Err: m.lost, Traffic: m.report.Traffic, Held: m.report.Bytes, Ahead: m.report.Ahead}
	switch {
	case !m.whole.IsZero():
		o.Err, o.After = nil, max(0, m.whole.Sub(w.begun))
	case o.Err == nil:
		o.Err = cmp.Or(r.err, errors.New("the transfer ended"))
	}
	return o
}

func (r *run) result(w *waiter) Result {
	res := Result{Kind: r.shape.Kind, Stripes: len(r.shape.Trees), Took: time.Since(w.begun), Repairs: slices.Clone(r.repairs)}
	if r.source.host.Up > 0 {
		res.Predicted = time.Duration(r.shape.Seconds * float64(time.Second))
	}
	for i := range w.members {
		res.Hosts = append(res.Hosts, r.outcome(w, i))
	}
	return res
}

// release ends the transfer at all peers and waits until they have hung up.
func (r *run) release(cancel context.CancelFunc) {
	end := func(m *member) {
		if m.session != nil && m.lost == nil {
			// A peer that cannot be told forgets by itself.
			_ = m.session.Order(chain.Order{Kind: chain.Release, Blob: r.blob})
		}
	}
	end(r.source)
	for _, m := range r.members {
		end(m)
	}
	done := make(chan struct{})
	go func() {
		r.serving.Wait()
		close(done)
	}()
	timeout := time.After(releaseTimeout)
	for {
		select {
		case e := <-r.events: // reports that were under way, and who comes only now
			if e.session != nil {
				e.member.session = e.session
				end(e.member)
			}
		case <-timeout:
			cancel()
		case <-done:
			return
		}
	}
}

func (m *member) alive() bool { return m.lost == nil }

// active says whether orders can be given.
func (m *member) active() bool { return m.ready && m.lost == nil }

// mayStart says whether it is time for the first orders.
func (r *run) mayStart(now time.Time) bool {
	if !r.source.active() || r.present == 0 {
		return false
	}
	if r.halfDone.IsZero() && r.present >= r.awaited {
		r.halfDone = now
	}
	return r.awaited == 0 || !r.halfDone.IsZero() && now.Sub(r.halfDone) >= startGrace
}

// start draws the shape for those who are ready and gives the first orders.
func (r *run) start() {
	task := shape.Task{Source: r.source.host.Host, Size: r.blob.Size, Chunk: r.blob.Size / int64(max(r.blob.Chunks, 1))}
	for _, m := range r.members {
		if m.active() {
			m.index = len(r.placed)
			r.placed = append(r.placed, m)
			task.Receivers = append(task.Receivers, m.host.Host)
		}
	}
	r.shape = shape.Choose(task)
	r.deal(len(r.shape.Trees))
	for range r.stripes {
		r.roots = append(r.roots, r.source)
	}
	r.started = time.Now()
	r.advanced, r.changed = r.started, r.started
	r.dispatch()
}

// deal deals the chunks out over n stripes, in the order in which they go.
func (r *run) deal(n int) {
	r.stripes = nil
	for range n {
		r.stripes = append(r.stripes, set.New(r.blob.Chunks))
	}
	for at, i := range r.blob.Sequence() {
		r.stripes[at%n].Add(i)
	}
}

// parentsOf says from whom a member is to fetch each stripe.
func (r *run) parentsOf(m *member) []*member {
	parents := make([]*member, len(r.stripes))
	for k := range parents {
		switch p := r.shape.Trees[k][m.index]; p {
		case shape.Out:
		case shape.Source:
			parents[k] = r.roots[k]
		default:
			parents[k] = r.placed[p]
		}
	}
	return parents
}

// dispatch gives orders to all whose sources are not what they should be.
func (r *run) dispatch() {
	for _, m := range r.placed {
		if !m.active() {
			continue
		}
		if parents := r.parentsOf(m); m.parents == nil || !slices.Equal(parents, m.parents) {
			if m.parents != nil {
				m.turned = time.Now()
			}
			m.parents = parents
			r.order(m, false)
		}
	}
}

// order tells a member its sources.
func (r *run) order(m *member, inventory bool) {
	o := chain.Order{Kind: chain.Take, Blob: chain.Blob{Digest: r.blob.Digest}, Inventory: inventory}
	for k, p := range m.parents {
		if p != nil && p.alive() {
			o.Wants = append(o.Wants, chain.Want{Stripe: k, Source: p.host.Name, Address: p.host.Address, Chunks: r.stripes[k]})
		}
	}
	if m == r.probing {
		root := r.roots[0].host
		o.Wants = append(o.Wants, chain.Want{Stripe: probeStripe, Source: root.Name, Address: root.Address, Chunks: r.sample()})
	}
	if err := m.session.Order(o); err != nil {
		// Its connection is closed, which its goroutine hears too.
		r.conductor.cfg.Log.Debug("order was not taken", "host", m.host.Name, "cause", err)
	}
}

// repaired notes a change of the shape, and has all rates measured anew.
func (r *run) repaired(m *member, what string) {
	r.changed = time.Now()
	p := Repair{After: r.changed.Sub(r.begun), Host: m.host.Name, What: what}
	r.repairs = append(r.repairs, p)
	for _, w := range r.waiters {
		if i := slices.Index(w.members, m); w.transfer.Repaired != nil && i >= 0 {
			w.transfer.Repaired(Repair{After: p.After, Host: w.transfer.Receivers[i].Name, What: what})
		}
	}
	r.conductor.cfg.Log.Info("repair", "blob", r.blob.Digest, "host", m.host.Name, "what", what)
	r.probing = nil
	for _, m := range r.placed {
		m.pace, m.taken = nil, pace{}
	}
}
