package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/chain"
	"ore/chain/conduct"
	"ore/cluster"
	"ore/image/early"
)

// blobsAtOnce is how many blobs are under way together: enough that the small
// ones do not wait for each other's round trips, few enough that a large one has
// the links for itself.
const blobsAtOnce = 3

// sendKit brings what machines are started with to all hosts.
func (e *Engine) sendKit(ctx context.Context) error {
	boot, err := e.config.Prepare(ctx, e.wanted)
	if err != nil {
		return err
	}
	boot.Accelerator = "" // what works here says nothing of the hosts: the driver finds out there
	k, paths, err := e.config.Kits.Pack(ctx, boot)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.kit, e.paths = k, paths
	e.mu.Unlock()
	stages, err := e.bring(ctx, e.hosts, k.Blobs(), e.config.Watch)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stages = stages
	return err
}

// Distribute implements [cluster.Distributor].
func (e *Engine) Distribute(ctx context.Context, d cluster.Distribution, w ore.Watcher) ([]ore.Stage, error) {
	var blobs []ore.Digest
	for _, l := range d.Image.Layers {
		blobs = append(blobs, l.Digest)
	}
	for _, in := range d.Inputs {
		blobs = append(blobs, in.Digest)
	}
	blobs = append(blobs, d.Blobs...)
	slices.Sort(blobs)
	blobs = slices.Compact(blobs)
	var hosts []*host
	e.mu.Lock()
	e.sent, e.network = blobs, d.Network
	for _, h := range e.hosts {
		for _, at := range e.where {
			if at == h {
				hosts = append(hosts, h)
				break
			}
		}
	}
	e.mu.Unlock()
	e.layAhead(ctx, hosts)
	bring := e.bring
	if e.mayBeginEarly(d) {
		bring = e.bringEarly
	}
	stages, err := bring(ctx, hosts, blobs, w)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.supplied = hosts
	stages = append(e.stages, stages...) // the kit went before, beside the making of the image
	e.stages = nil
	e.mu.Unlock()
	return stages, e.join(ctx)
}

// bring has hosts have blobs. A host that cannot get them is blamed, which is an
// error only if no host is left.
func (e *Engine) bring(ctx context.Context, hosts []*host, blobs []ore.Digest, w ore.Watcher) ([]ore.Stage, error) {
	t := e.newTransfer(w)
	if err := t.look(ctx, hosts, blobs); err != nil {
		return nil, err
	}
	if err := t.sendAll(ctx); err != nil {
		return nil, err
	}
	return t.stages(), t.usable(hosts)
}

// turn puts layers that machines can begin with before all else, and behind all else
// what they pour, which they begin with when they have started.
func (t *transfer) turn(d ore.Digest) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.first[d]
	switch {
	case ok && slices.Contains(t.engine.poured, d):
		return 2
	case ok:
		return 0
	}
	return 1
}

func (e *Engine) newTransfer(w ore.Watcher) *transfer {
	return &transfer{
		engine: e, watch: w, begun: time.Now(), in: map[*host]int64{}, out: map[*host]int64{},
		arrivals: map[*host]map[ore.Digest]*arrival{}, changed: make(chan struct{}, 1), repairs: map[*host][]string{},
	}
}

// sendAll sends all blobs that hosts lack.
func (t *transfer) sendAll(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(blobsAtOnce)
	blobs := slices.Sorted(maps.Keys(t.lacking))
	slices.SortStableFunc(blobs, func(a, b ore.Digest) int { return t.turn(a) - t.turn(b) })
	for _, d := range blobs {
		g.Go(func() error { return t.send(ctx, d) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("send blobs: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// usable returns an error if none of the hosts can be used.
func (t *transfer) usable(hosts []*host) error {
	var errs []error
	for _, h := range hosts {
		if err := h.fault(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(hosts) {
		return errors.Join(errs...)
	}
	return nil
}

// transfer is one bringing.
type transfer struct {
	engine  *Engine
	watch   ore.Watcher
	begun   time.Time
	lacking map[ore.Digest][]*host
	having  map[ore.Digest][]*host
	changed chan struct{} // something arrived

	mu       sync.Mutex // guards what follows
	in, out  map[*host]int64
	here     int64 // bytes that left this host
	arrivals map[*host]map[ore.Digest]*arrival
	first    map[ore.Digest]early.Layer // what goes first, of blobs that machines can read as they come
	repairs  map[*host][]string         // what became of hosts that others had to go around
}

// look finds out which hosts have which blobs, also those that need none: they
// may be nearer than this host.
func (t *transfer) look(ctx context.Context, hosts []*host, blobs []ore.Digest) error {
	t.lacking, t.having = map[ore.Digest][]*host{}, map[ore.Digest][]*host{}
	lists := make([][]ore.Digest, len(t.engine.hosts))
	var g errgroup.Group
	for i, h := range t.engine.hosts {
		if h.fault() != nil {
			continue
		}
		g.Go(func() error {
			var err error
			if lists[i], err = h.job.Want(ctx, blobs); err != nil && ctx.Err() == nil {
				h.blame(err)
			}
			return nil
		})
	}
	_ = g.Wait() // their errors are the hosts'
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i, h := range t.engine.hosts {
		if h.fault() != nil {
			continue
		}
		for _, d := range blobs {
			switch {
			case !slices.Contains(lists[i], d):
				t.having[d] = append(t.having[d], h)
			case slices.Contains(hosts, h):
				t.lacking[d] = append(t.lacking[d], h)
				if t.arrivals[h] == nil {
					t.arrivals[h] = map[ore.Digest]*arrival{}
				}
				t.arrivals[h][d] = &arrival{}
			}
		}
	}
	return nil
}

// send brings one blob to all who lack it. If a host is lost that gave it, and
// nobody else has all of it, it is sent again from elsewhere.
func (t *transfer) send(ctx context.Context, d ore.Digest) error {
	lacking := t.lacking[d]
	for {
		blob, from, giver, err := t.origin(ctx, d)
		if err != nil {
			return err
		}
		order := conduct.Transfer{Blob: t.arrange(d, blob, giver == nil), Source: from}
		by := t.receivers(&order, d, lacking, giver)
		result, err := t.engine.conductor.Send(ctx, order)
		again := ctx.Err() == nil && giver != nil && (errors.Is(err, conduct.ErrLost) || errors.Is(err, conduct.ErrSource))
		if err != nil && !again {
			return err
		}
		lacking = t.conclude(ctx, d, by, result, again)
		t.account(by, result, giver)
		if len(lacking) == 0 {
			return nil
		}
		giver.blame(err)
		t.having[d] = slices.DeleteFunc(t.having[d], func(h *host) bool { return h == giver })
	}
}

// arrange says what of a blob goes first. Of one whose chunks another host has cut
// nothing may be read before all is verified, unless they are those that this host
// knows to be right.
func (t *transfer) arrange(d ore.Digest, b chain.Blob, own bool) chain.Blob {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.first[d]
	if !ok {
		return b
	}
	if !own && b.List != l.List {
		delete(t.first, d)
		return b
	}
	if slices.Contains(t.engine.poured, d) {
		l.Ranges = tables(b.Size)
	}
	for _, g := range l.Ranges {
		span := b.Cover(g.Offset, g.Size)
		if i := len(b.First) - 1; i >= 0 && span.From >= b.First[i].From && span.From <= b.First[i].From+b.First[i].Count {
			b.First[i].Count = max(b.First[i].Count, span.From+span.Count-b.First[i].From)
		} else if span.Count > 0 {
			b.First = append(b.First, span)
		}
	}
	return b
}

// receivers puts hosts into an order, and returns them by the names that they
// have there.
func (t *transfer) receivers(order *conduct.Transfer, d ore.Digest, lacking []*host, giver *host) map[string]*host {
	by := map[string]*host{}
	lead := order.Blob.Lead()
	for i, h := range lacking {
		if h == giver {
			t.keep(h, d) // it was given the blob just now
			continue
		}
		addr, grant := h.job.Chain()
		name := fmt.Sprintf("%d %s", i, h.name()) // names need not differ
		by[name] = h
		order.Receivers = append(order.Receivers, conduct.Host{Host: h.place(name), Address: addr, Conduct: grant})
		t.mu.Lock()
		t.arrivals[h][d].size, t.arrivals[h][d].lead = order.Blob.Size, lead
		t.mu.Unlock()
	}
	note := func(o conduct.Outcome) { t.arrive(by[o.Host], d, o) }
	if len(order.Blob.First) > 0 {
		order.Coming, order.Done = note, note
	}
	order.Repaired = func(r conduct.Repair) { t.repaired(by[r.Host], d, r) }
	t.watch.Tell(ore.Event{Stage: "distribute", Text: fmt.Sprintf("%s, %.1f MB, to %d hosts", d.Short(), float64(order.Blob.Size)/1e6, len(by))})
	return by
}

// repaired notes that others had to go around a host, and tells who watches the job:
// it is why a transfer took longer than its link says.
func (t *transfer) repaired(h *host, d ore.Digest, r conduct.Repair) {
	t.mu.Lock()
	t.repairs[h] = append(t.repairs[h], r.What)
	t.mu.Unlock()
	t.watch.Tell(ore.Event{Stage: "distribute", Text: fmt.Sprintf("host %s, %.1f s into %s: %s", h.name(), r.After.Seconds(), d.Short(), r.What)})
}

// conclude has hosts keep what came to them. It returns those to which it is to be
// sent again.
func (t *transfer) conclude(ctx context.Context, d ore.Digest, by map[string]*host, result conduct.Result, again bool) []*host {
	var lacking []*host
	var g errgroup.Group
	for _, o := range result.Hosts {
		h := by[o.Host]
		if h == nil {
			continue
		}
		if o.Err != nil && again && h.fault() == nil {
			lacking = append(lacking, h)
			continue
		}
		g.Go(func() error {
			err := o.Err
			if err == nil {
				err = h.job.Keep(ctx, d)
			}
			if err == nil {
				t.keep(h, d)
			} else if ctx.Err() == nil {
				h.blame(fmt.Errorf("blob %s did not come: %w", d.Short(), err))
			}
			return nil
		})
	}
	_ = g.Wait() // their errors are the hosts'
	return lacking
}

// account adds up what went from where.
func (t *transfer) account(by map[string]*host, result conduct.Result, giver *host) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent := int64(0)
	for _, o := range result.Hosts {
		if h := by[o.Host]; h != nil {
			t.in[h] += o.Traffic.In
			t.out[h] += o.Traffic.Out
			sent += o.Traffic.In - o.Traffic.Out
		}
	}
	if giver == nil {
		t.here += sent // what came to somebody and did not leave another receiver
	} else {
		t.out[giver] += sent
	}
}

// origin says from where a blob is sent: a host that has it, or this one. giver
// is nil for this one.
func (t *transfer) origin(ctx context.Context, d ore.Digest) (b chain.Blob, from conduct.Host, giver *host, err error) {
	for _, h := range t.having[d] {
		if b, err = h.job.Offer(ctx, d); err == nil {
			addr, grant := h.job.Chain()
			return b, conduct.Host{Host: h.place(h.name()), Address: addr, Conduct: grant}, h, nil
		}
		if ctx.Err() != nil {
			return b, from, nil, context.Cause(ctx)
		}
		h.blame(err)
	}
	t.engine.mu.Lock()
	path := t.engine.paths[d]
	t.engine.mu.Unlock()
	if path == "" {
		if path, err = t.engine.config.Blob(ctx, d); err != nil {
			return b, from, nil, err
		}
	}
	first := t.lacking[d][0]
	b, from, err = t.engine.source.offer(ctx, d, path, first.agent.From())
	if err != nil || t.engine.reached(ctx, first, from.Address) {
		return b, from, nil, err
	}
	return t.give(ctx, d, path)
}

// give brings a blob to the first host over the connection to its agent, since
// hosts cannot connect to this one. The others have it from there.
func (t *transfer) give(ctx context.Context, d ore.Digest, path string) (b chain.Blob, from conduct.Host, giver *host, err error) {
	f, err := os.Open(path)
	if err != nil {
		return b, from, nil, err
	}
	defer f.Close()
	h := t.lacking[d][0]
	if err := h.job.Give(ctx, d, f); err != nil {
		return b, from, nil, fmt.Errorf("host %s: %w", h.name(), err)
	}
	if b, err = h.job.Offer(ctx, d); err != nil {
		return b, from, nil, fmt.Errorf("host %s: %w", h.name(), err)
	}
	t.mu.Lock()
	t.in[h] += b.Size
	t.here += b.Size
	t.mu.Unlock()
	addr, grant := h.job.Chain()
	return b, conduct.Host{Host: h.place(h.name()), Address: addr, Conduct: grant}, h, nil
}

// reached says whether hosts can connect to this one at addr. One is asked for
// all, once.
func (e *Engine) reached(ctx context.Context, h *host, addr string) bool {
	e.reaching.Lock()
	defer e.reaching.Unlock()
	if !e.asked {
		err := h.job.Reach(ctx, addr)
		if ctx.Err() != nil {
			return true // the transfer will say so
		}
		e.asked, e.reachable = true, err == nil
		if err != nil {
			e.config.Watch.Tell(ore.Event{Stage: "distribute", Text: fmt.Sprintf("hosts cannot connect to this one at %s (%v): sending to one of them", addr, err)})
		}
	}
	return e.reachable
}

// stages says what came and went at each host.
func (t *transfer) stages() []ore.Stage {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []ore.Stage
	add := func(name string, in, out int64, repairs ...string) {
		if in+out == 0 && len(repairs) == 0 {
			return
		}
		note := append([]string{fmt.Sprintf("%.1f MB in, %.1f MB out", float64(in)/1e6, float64(out)/1e6)}, repairs...)
		all = append(all, ore.Stage{Name: "distribute", Machine: name, Start: t.begun, End: time.Now(), Note: strings.Join(note, "; ")})
	}
	add(sourceName, 0, t.here)
	for _, h := range t.engine.hosts {
		in := t.in[h]
		for _, a := range t.arrivals[h] {
			if !a.kept {
				in += a.came // the rest is still coming
			}
		}
		add(h.name(), in, t.out[h], t.repairs[h]...)
	}
	return all
}
