package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"ore"
	"ore/chain/conduct"
	"ore/cluster"
	"ore/image/early"
	"ore/node"
	"ore/node/agent"
)

// Outlook is what is known of a host when machines could start there before all
// of their layers have come.
type Outlook struct {
	Came int64         // bytes of the layers that have come
	In   time.Duration // from the first of them to the last
	Left int64         // bytes that are still to come
	Lead int64         // of these, what machines read first
	Cost time.Duration // by how much reading them as they come was slower than plain files, when it was recorded
}

const (
	// judgedFrom is how long bytes must have come until they say how fast the others
	// will: a stream begins slowly, and a queue on the way takes its first bytes at
	// once.
	judgedFrom = 150 * time.Millisecond
	// maxStall is how long what machines read first may still be under way when they
	// start. A start takes a second or more, and reads in the order in which it
	// comes, so that it is best begun at once; a machine that waited much longer would
	// only have its memory, and its job's time run.
	maxStall = 5 * time.Second
)

// Gain predicts how much earlier machines are there that start now: the rest
// would have to be waited for, at the rate at which it came until now, and reading
// through the folder costs what it did before. It says nothing where no rate was
// seen. A read that nobody expected cannot make it a loss: its bytes come no later
// than with all others.
func (o Outlook) Gain() (gain time.Duration, known bool) {
	if o.Came <= 0 || o.In <= 0 || o.Lead > 0 && o.In < judgedFrom {
		return 0, false
	}
	return o.takes(o.Left) - o.Cost, true
}

// Stall predicts how long it takes until all is there that machines read first.
func (o Outlook) Stall() time.Duration { return o.takes(o.Lead) }

// takes is how long so many bytes take, at the rate that was seen.
func (o Outlook) takes(bytes int64) time.Duration {
	return time.Duration(float64(bytes) * o.In.Seconds() / float64(o.Came) * float64(time.Second))
}

// arrival is how a blob stands on a host that lacked it.
type arrival struct {
	size        int64
	came, held  int64     // bytes that came, and with those that were there
	first, last time.Time // when bytes came
	lead        int64     // bytes that are sent first
	begun       bool      // some of it is there
	ahead       bool      // what is read first is there
	kept        bool      // all is, and verified as a whole
}

// arrive notes what the conductor says of a host.
func (t *transfer) arrive(h *host, d ore.Digest, o conduct.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.arrivals[h][d]
	if a == nil || o.Err != nil {
		return
	}
	a.begun, a.ahead, a.came, a.held, a.first, a.last = true, a.ahead || o.Ahead, o.Traffic.In, o.Held, o.Traffic.FirstIn, o.Traffic.LastIn
	t.news()
}

// keep notes that a host has a blob.
func (t *transfer) keep(h *host, d ore.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.arrivals[h][d]; a != nil {
		a.kept = true
	}
	t.news()
}

// news wakes who waits for arrivals.
func (t *transfer) news() {
	select {
	case t.changed <- struct{}{}:
	default: // it is awake already
	}
}

// stands is what a host can do by now.
type stands int

const (
	waits  stands = iota
	begins        // with what has come
	whole
)

// outlook says how a host stands, and what that is judged by.
func (t *transfer) outlook(h *host) (stands, Outlook) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, o := whole, Outlook{}
	var first, last time.Time
	for d, a := range t.arrivals[h] {
		if a.kept {
			continue
		}
		l, known := t.first[d]
		if !known || !a.begun || !h.job.Lazy() {
			return waits, o
		}
		if !a.ahead {
			o.Lead += max(0, a.lead-a.held)
		}
		s = begins
		o.Cost += l.Took
		o.Came += a.came
		o.Left += a.size - a.held
		if a.came == 0 {
			continue
		}
		if first.IsZero() || a.first.Before(first) {
			first = a.first
		}
		if a.last.After(last) {
			last = a.last
		}
	}
	o.In = last.Sub(first)
	return s, o
}

// lacks returns the blobs that a host does not have yet.
func (t *transfer) lacks(h *host) map[ore.Digest]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[ore.Digest]int64{}
	for d, a := range t.arrivals[h] {
		if !a.kept {
			all[d] = a.size
		}
	}
	return all
}

// bringEarly is bring that returns as soon as it pays to start machines. The rest
// comes while they run.
func (e *Engine) bringEarly(ctx context.Context, hosts []*host, blobs []ore.Digest, w ore.Watcher) ([]ore.Stage, error) {
	t := e.newTransfer(w)
	t.first = e.firsts()
	if err := t.look(ctx, hosts, blobs); err != nil {
		return nil, err
	}
	r := e.carryOn(ctx, t)
	judged := map[*host]verdict{}
	for {
		ready := true
		for _, h := range hosts {
			s, o := t.outlook(h)
			if h.fault() != nil || s == whole {
				continue
			}
			v := o.verdict(s)
			if s == begins && judged[h] != v {
				judged[h] = v
				t.tellOutlook(h, o)
			}
			ready = ready && v == pays
		}
		if ready {
			return t.stages(), t.usable(hosts)
		}
		select {
		case <-t.changed:
		case <-r.done:
			if r.err != nil {
				return nil, r.err
			}
			return t.stages(), t.usable(hosts)
		case <-ctx.Done():
			e.stopRest()
			return nil, context.Cause(ctx)
		}
	}
}

// verdict is what an Outlook comes to.
type verdict int

const (
	open verdict = iota
	unknown
	loses
	stalls
	pays
)

func (o Outlook) verdict(s stands) verdict {
	gain, known := o.Gain()
	switch {
	case s != begins:
		return open
	case !known:
		return unknown
	case gain <= 0:
		return loses
	case o.Stall() > maxStall:
		return stalls
	}
	return pays
}

// tellOutlook says whether a host's machines start early, and why.
func (t *transfer) tellOutlook(h *host, o Outlook) {
	gain, known := o.Gain()
	text := fmt.Sprintf("host %s: %.1f of %.1f MB have come, ", h.name(), float64(o.Came)/1e6, float64(o.Came+o.Left)/1e6)
	switch {
	case !known:
		text += "and it is not known yet how long the rest takes"
	case gain > 0 && o.Stall() > maxStall:
		text += fmt.Sprintf("and what is read first takes %.1f s more", o.Stall().Seconds())
	case gain > 0 && o.Lead > 0:
		text += fmt.Sprintf("and what is read first comes in %.1f s: its machines need not wait %.1f s for the rest", o.Stall().Seconds(), o.takes(o.Left).Seconds())
	case gain > 0:
		text += fmt.Sprintf("what is read first among them: its machines need not wait %.1f s for the rest", o.takes(o.Left).Seconds())
	default:
		text += fmt.Sprintf("its machines wait %.2f s for the rest, since reading it as it comes costs %.2f s", (gain + o.Cost).Seconds(), o.Cost.Seconds())
	}
	t.watch.Tell(ore.Event{Stage: "distribute", Text: text})
}

// rest is a transfer that goes on while machines run.
type rest struct {
	transfer *transfer
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // once done is closed
	over     bool  // nothing comes any more; guarded by the engine's lock
}

// carryOn sends what hosts lack until stopRest.
func (e *Engine) carryOn(ctx context.Context, t *transfer) *rest {
	// It lives on when the call that begins it returns.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &rest{transfer: t, cancel: cancel, done: make(chan struct{})}
	e.mu.Lock()
	e.rest = r
	e.mu.Unlock()
	go func() {
		defer close(r.done)
		defer cancel()
		r.err = t.sendAll(ctx)
		if ctx.Err() != nil {
			return
		}
		e.mu.Lock()
		r.over = true
		e.mu.Unlock()
		early := false
		for h := range t.arrivals {
			if !h.isEarly() {
				continue
			}
			early = true
			if lacks := t.lacks(h); len(lacks) > 0 {
				h.without(ctx, lacks, fmt.Errorf("%d layers did not come to their end: %w", len(lacks), h.why(r.err)))
			}
		}
		if early && r.err == nil {
			t.watch.Tell(ore.Event{Stage: "distribute", Text: "the rest has come", Final: true})
		}
	}()
	return r
}

// stopRest ends a transfer that goes on. What came stays for the next job.
func (e *Engine) stopRest() {
	e.mu.Lock()
	r := e.rest
	e.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// still returns what is still to come to a host whose machines start now, and notes
// that they do.
func (e *Engine) still(h *host) (map[ore.Digest]int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rest == nil {
		return nil, nil
	}
	lacks := e.rest.transfer.lacks(h)
	if len(lacks) > 0 && e.rest.over {
		return nil, fmt.Errorf("%d of its blobs did not come", len(lacks))
	}
	if len(lacks) > 0 {
		h.setEarly()
	}
	return lacks, nil
}

// tablesPart is which part of a layer its tables are at most: who pours it reads
// them first, and they stand at its end. They are 0.1 to 0.3 % of Debian's; what is
// more is asked for as it is read.
const tablesPart = 64

// tables are the ranges of a layer that who pours it reads first.
func tables(size int64) []early.Range {
	n := size / tablesPart
	return []early.Range{{Offset: 0, Size: 1}, {Offset: size - n, Size: n}}
}

// firsts returns what is known of the image's layers, by their digests, and of what
// machines pour.
func (e *Engine) firsts() map[ore.Digest]early.Layer {
	all := map[ore.Digest]early.Layer{}
	for _, l := range e.record.Layers {
		if len(l.Ranges) > 0 {
			all[l.Digest] = l
		}
	}
	for _, d := range e.poured {
		all[d] = early.Layer{Digest: d} // read once from the folder, it costs nothing to speak of
	}
	return all
}

// mayBeginEarly says whether machines may start before their layers are there.
func (e *Engine) mayBeginEarly(d cluster.Distribution) bool {
	switch {
	case e.config.Whole:
		return false
	case len(d.Blobs) > 0:
		e.record, e.poured = early.Record{}, d.Poured
		return len(d.Poured) > 0
	}
	var known bool
	e.record, known = e.config.First.Load(d.Image.Digest())
	return known
}

// lazily has a host show the layers that its machines are to read as they come, or
// are watched reading.
func (e *Engine) lazily(ctx context.Context, h *host, s *node.Start, w ore.Watcher) error {
	sizes, err := e.still(h)
	if err != nil {
		return err
	}
	coming := len(sizes) > 0
	if coming {
		w.Tell(ore.Event{Stage: "distribute", Text: "host " + h.name() + ": machines start, and the rest comes"})
	} else if e.watches(h, *s) {
		sizes = map[ore.Digest]int64{}
		for _, l := range s.Image.Layers {
			sizes[l.Digest] = l.Size
		}
	}
	if len(sizes) == 0 {
		return nil
	}
	var list []agent.ComingBlob
	for _, d := range slices.Sorted(maps.Keys(sizes)) {
		list = append(list, agent.ComingBlob{Digest: d, Size: sizes[d]})
	}
	if s.Lazy, err = h.job.Show(ctx, list); err != nil && !coming {
		return nil // nobody is watched
	}
	return err
}
