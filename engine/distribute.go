package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
	"ore/cluster"
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
	stages, err := e.bring(ctx, hosts, blobs, w)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	stages = append(e.stages, stages...) // the kit went before, beside the making of the image
	e.stages = nil
	e.mu.Unlock()
	return stages, e.join(ctx)
}

// bring has hosts have blobs. A host that cannot get them is blamed, which is an
// error only if no host is left.
func (e *Engine) bring(ctx context.Context, hosts []*host, blobs []ore.Digest, w ore.Watcher) ([]ore.Stage, error) {
	t := &transfer{engine: e, watch: w, begun: time.Now(), in: map[*host]int64{}, out: map[*host]int64{}}
	if err := t.look(ctx, hosts, blobs); err != nil {
		return nil, err
	}
	var g errgroup.Group
	g.SetLimit(blobsAtOnce)
	for _, d := range blobs {
		if len(t.lacking[d]) > 0 {
			g.Go(func() error { return t.send(ctx, d) })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("send blobs: %w", err)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var errs []error
	for _, h := range hosts {
		if err := h.fault(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(hosts) {
		return nil, errors.Join(errs...)
	}
	return t.stages(), nil
}

// transfer is one bringing.
type transfer struct {
	engine  *Engine
	watch   ore.Watcher
	begun   time.Time
	lacking map[ore.Digest][]*host
	having  map[ore.Digest][]*host

	mu      sync.Mutex // guards what follows
	in, out map[*host]int64
	here    int64 // bytes that left this host
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
			}
		}
	}
	return nil
}

// send brings one blob to all who lack it.
func (t *transfer) send(ctx context.Context, d ore.Digest) error {
	blob, from, giver, err := t.origin(ctx, d)
	if err != nil {
		return err
	}
	by := map[string]*host{}
	order := conduct.Transfer{Blob: blob, Source: from}
	for i, h := range t.lacking[d] {
		if h == giver {
			continue // it was given the blob just now
		}
		addr, grant := h.job.Chain()
		name := fmt.Sprintf("%d %s", i, h.name()) // names need not differ
		by[name] = h
		order.Receivers = append(order.Receivers, conduct.Host{Host: shape.Host{Name: name}, Address: addr, Conduct: grant})
	}
	t.watch.Tell(ore.Event{Stage: "distribute", Text: fmt.Sprintf("%s, %.1f MB, to %d hosts", d.Short(), float64(blob.Size)/1e6, len(by))})
	result, err := conduct.New(conduct.Config{}).Send(ctx, order)
	if err != nil {
		return err
	}
	var g errgroup.Group
	sent := int64(0)
	for _, o := range result.Hosts {
		h := by[o.Host]
		if h == nil {
			continue
		}
		t.mu.Lock()
		t.in[h] += o.Traffic.In
		t.out[h] += o.Traffic.Out
		sent += o.Traffic.In - o.Traffic.Out
		t.mu.Unlock()
		g.Go(func() error {
			err := o.Err
			if err == nil {
				err = h.job.Keep(ctx, d)
			}
			if err != nil && ctx.Err() == nil {
				h.blame(fmt.Errorf("blob %s did not come: %w", d.Short(), err))
			}
			return nil
		})
	}
	_ = g.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if giver == nil {
		t.here += sent // what came to somebody and did not leave another receiver
	} else {
		t.out[giver] += sent
	}
	return nil
}

// origin says from where a blob is sent: a host that has it, or this one. giver
// is nil for this one.
func (t *transfer) origin(ctx context.Context, d ore.Digest) (b chain.Blob, from conduct.Host, giver *host, err error) {
	for _, h := range t.having[d] {
		if b, err = h.job.Offer(ctx, d); err == nil {
			addr, grant := h.job.Chain()
			return b, conduct.Host{Host: shape.Host{Name: h.name()}, Address: addr, Conduct: grant}, h, nil
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
	return b, conduct.Host{Host: shape.Host{Name: h.name()}, Address: addr, Conduct: grant}, h, nil
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
	var all []ore.Stage
	add := func(name string, in, out int64) {
		if in+out > 0 {
			all = append(all, ore.Stage{Name: "distribute", Machine: name, Start: t.begun, End: time.Now(),
				Note: fmt.Sprintf("%.1f MB in, %.1f MB out", float64(in)/1e6, float64(out)/1e6)})
		}
	}
	add(sourceName, 0, t.here)
	for _, h := range t.engine.hosts {
		add(h.name(), t.in[h], t.out[h])
	}
	return all
}
