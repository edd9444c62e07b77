package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"ore/chain/set"
)

// Kinds of orders.
const (
	// Prepare makes a peer know a blob and who may read it: it opens a grant
	// and begins to report. The answer is a Report.
	Prepare = "prepare"
	// Take makes a peer fetch from these sources, and from no others.
	Take = "take"
	// Release ends all that Prepare began. What came stays on disk. The peer
	// hangs up when nothing is left that the conductor watches.
	Release = "release"
)

// Limits of reports.
const (
	// minEvery bounds how often a conductor may have a peer report.
	minEvery = 20 * time.Millisecond
	// defaultEvery is how often a peer reports that was not told.
	defaultEvery = 100 * time.Millisecond
	// leisureEvery is how often a peer reports while nobody waits for what comes: a
	// report costs both sides more than what came since the one before.
	leisureEvery = time.Second
)

// Order is what a conductor says to a peer. What has nothing to say is left out: at
// the start orders for all peers leave by one link, before the first chunk.
type Order struct {
	Kind  string
	Blob  Blob
	Grant Grant         `json:",omitzero"` // of Prepare: who may read the blob here, and how it is read elsewhere
	Wants []Want        `json:",omitempty"`
	Every time.Duration `json:",omitempty"` // between two reports
	// Inventory asks for the set of chunks in the next report.
	Inventory bool `json:",omitempty"`
}

// Flow is one source as its receiver sees it.
type Flow struct {
	Stripe int
	Source string
	Held   int // chunks of this want that are here
	Of     int
	Lost   int           `json:",omitempty"` // how often the source was lost
	Cause  string        `json:",omitempty"` // why, as long as nothing came since
	Within time.Duration // between its first chunk and its last until now
	Wrong  bool          `json:",omitempty"` // its bytes did not match their sums
}

// Report is what a peer says of one blob.
type Report struct {
	Blob   Digest
	Ready  bool `json:",omitempty"` // the answer to Prepare
	Whole  bool
	Ahead  bool `json:",omitempty"` // all chunks are here that Blob.First names
	Chunks int
	Bytes  int64
	// Taken is what has come to the peer of all blobs, in bytes: they share its link.
	Taken int64 `json:",omitempty"`
	// Leisure says that nobody there waits for the rest, which comes slowly.
	Leisure bool   `json:",omitempty"`
	Flows   []Flow `json:",omitempty"`
	Traffic Traffic
	Have    *set.Set `json:",omitempty"`
	Broken  string   `json:",omitempty"` // why this peer can never have the blob
}

// Session is a conductor's connection to a peer. Order and Next may be called
// by one goroutine each.
type Session struct {
	link *link
	stop func() bool
}

// Conduct connects to a peer with a grant that conducts.
func (d Dialer) Conduct(ctx context.Context, address string, g Grant) (*Session, error) {
	l, err := d.link(ctx, address, g)
	if err != nil {
		return nil, err
	}
	return &Session{link: l, stop: context.AfterFunc(ctx, func() { l.Close() })}, nil
}

// Order tells the peer what to do.
func (s *Session) Order(o Order) error {
	if err := s.link.SetWriteDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	return s.link.send(o)
}

// Next returns the next report.
func (s *Session) Next() (Report, error) {
	var r Report
	err := s.link.receive(&r)
	return r, err
}

// Close ends the session. The peer goes on with what it was told last.
func (s *Session) Close() error {
	s.stop()
	return s.link.Close()
}

// overseen is what one conductor watches of a peer.
type overseen struct {
	peer    *Peer
	link    *link
	blobs   map[Digest]*watched
	every   time.Duration
	orders  chan Order
	waken   chan struct{}
	aborted chan error
}

type watched struct {
	blob      *partial
	grant     Grant
	ready     bool // Ready is still to be said
	inventory bool
}

// obey takes orders until the conductor hangs up.
func (p *Peer) obey(ctx context.Context, l *link, first json.RawMessage) error {
	o := &overseen{peer: p, link: l, blobs: map[Digest]*watched{}, every: defaultEvery, orders: make(chan Order), waken: make(chan struct{}, 1), aborted: make(chan error, 1)}
	p.mu.Lock()
	p.watchers[o.waken] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.watchers, o.waken)
		p.mu.Unlock()
		for _, w := range o.blobs {
			p.leave(w.blob, false)
		}
	}()
	if err := l.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.read(ctx, first)
	}()
	err := o.run(ctx)
	cancel()
	l.Close() // wakes the reader
	<-done
	return err
}

func (o *overseen) read(ctx context.Context, first json.RawMessage) {
	var next Order
	err := json.Unmarshal(first, &next)
	for err == nil {
		select {
		case o.orders <- next:
		case <-ctx.Done():
			return
		}
		next = Order{}
		err = o.link.receive(&next)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	o.aborted <- err
}

func (o *overseen) run(ctx context.Context) error {
	t := time.NewTicker(o.every)
	defer t.Stop()
	for {
		var err error
		select {
		case order := <-o.orders:
			if err = o.do(order); err == nil {
				t.Reset(o.every)
				err = o.report()
			}
		case <-o.waken:
			err = o.report()
		case <-t.C:
			err = o.report()
			t.Reset(o.pause())
		case err := <-o.aborted:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if errors.Is(err, errReleased) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pause is for how long the next report has time.
func (o *overseen) pause() time.Duration {
	for _, w := range o.blobs {
		if o.peer.cfg.Busy == nil || !w.blob.hasTime() {
			return o.every
		}
	}
	return max(o.every, leisureEvery)
}

func (o *overseen) do(order Order) error {
	if order.Every > 0 {
		o.every = max(order.Every, minEvery)
	}
	d := order.Blob.Digest
	w := o.blobs[d]
	switch {
	case order.Kind == Prepare && w == nil:
		b, err := o.peer.prepare(order.Blob, order.Grant)
		if err != nil {
			return err
		}
		o.blobs[d] = &watched{blob: b, grant: order.Grant, ready: true}
		return nil
	case w == nil:
		return fmt.Errorf("order %q for blob %.12s: not prepared", order.Kind, d)
	case order.Kind == Prepare:
		w.ready = true
	case order.Kind == Take:
		w.inventory = w.inventory || order.Inventory
		return o.take(w, order.Wants)
	case order.Kind == Release:
		delete(o.blobs, d)
		o.peer.Revoke(w.grant.ID)
		o.peer.leave(w.blob, true)
		if len(o.blobs) == 0 {
			return errReleased // hanging up is the answer
		}
	default:
		return fmt.Errorf("order %q for blob %.12s: unknown kind", order.Kind, d)
	}
	return nil
}

func (o *overseen) take(w *watched, wants []Want) error {
	b := w.blob
	if len(wants) > maxWants {
		return fmt.Errorf("take blob %.12s: %d sources, more than %d", b.blob.Digest, len(wants), maxWants)
	}
	for _, want := range wants {
		if want.Chunks.Of() != b.blob.Chunks {
			return fmt.Errorf("take blob %.12s: a set of %d chunks, it has %d", b.blob.Digest, want.Chunks.Of(), b.blob.Chunks)
		}
	}
	b.mu.Lock()
	idle := b.whole
	b.mu.Unlock()
	if !idle && o.peer.ctx.Err() == nil {
		o.peer.fetch(o.peer.ctx, b, wants, w.grant)
	}
	return nil
}

// report says how all watched blobs stand.
func (o *overseen) report() error {
	if err := o.link.SetWriteDeadline(time.Now().Add(idleTimeout)); err != nil {
		return err
	}
	for _, w := range o.blobs {
		r := w.blob.report(w.inventory)
		r.Ready, w.ready, w.inventory = w.ready, false, false
		r.Taken, r.Leisure = o.peer.taken.Load(), o.peer.cfg.Busy != nil && w.blob.hasTime()
		if err := o.link.send(r); err != nil {
			return err
		}
	}
	return nil
}

func (p *partial) report(inventory bool) Report {
	p.mu.Lock()
	r := Report{Blob: p.blob.Digest, Whole: p.whole, Ahead: p.file != nil && p.ahead == 0, Chunks: p.count, Bytes: p.size, Traffic: p.traffic}
	have := p.have.Clone()
	if p.broken != nil {
		r.Broken = p.broken.Error()
	}
	p.mu.Unlock()
	if inventory {
		r.Have = &have
	}
	p.flows.mu.Lock()
	defer p.flows.mu.Unlock()
	for f := range p.flows.running {
		f.mu.Lock()
		r.Flows = append(r.Flows, Flow{Stripe: f.want.Stripe, Source: f.want.Source, Held: f.want.Chunks.Shared(have), Of: f.want.Chunks.Count(), Lost: f.lost, Cause: f.cause, Wrong: f.wrong, Within: f.last.Sub(f.first)})
		f.mu.Unlock()
	}
	return r
}

// prepare makes a blob known and opens it to the grant's holder.
func (p *Peer) prepare(b Blob, g Grant) (*partial, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	if g.Conduct || len(g.Key) != keySize || !g.opens(b.Digest) || len(g.Blobs) != 1 {
		return nil, fmt.Errorf("prepare blob %.12s: %w: the grant must open this blob and no more", b.Digest, ErrRefused)
	}
	p.Allow(g)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.blobs[b.Digest]
	if n == nil {
		n = newPartial(b, filepath.Join(p.cfg.Dir, b.Digest.String()))
		p.blobs[b.Digest] = n
		p.wait.Add(1)
		go func() {
			defer p.wait.Done()
			p.recall(n)
		}()
	}
	if n.blob.List != b.List || n.blob.Chunks != b.Chunks {
		return nil, fmt.Errorf("prepare blob %.12s: %w: it is known with another list", b.Digest, ErrRefused)
	}
	if len(b.First) > 0 {
		n.arrange(b)
	}
	n.mu.Lock()
	n.sessions++
	n.mu.Unlock()
	return n, nil
}

// recall opens what an earlier life left of a blob, so that it can be served
// even if nothing has to be fetched.
func (p *Peer) recall(b *partial) {
	if err := b.first(p.ctx, func() error { return p.openKept(b) }); err != nil && p.ctx.Err() == nil {
		b.fail(err)
	}
	p.poke()
}

// leave is called when a conductor watches b no more: released says that it
// said so, and was not merely lost.
func (p *Peer) leave(b *partial, released bool) {
	b.mu.Lock()
	b.sessions--
	last, own := b.sessions == 0, !b.added
	b.mu.Unlock()
	switch {
	case !last || !own:
	case released:
		p.drop(b)
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.closed {
			return
		}
		var t *time.Timer
		t = time.AfterFunc(orphanTimeout, func() {
			p.mu.Lock()
			delete(p.orphans, t)
			p.mu.Unlock()
			p.drop(b)
		})
		p.orphans[t] = true
	}
}

// drop lets go of a blob that no conductor watches.
func (p *Peer) drop(b *partial) {
	p.mu.Lock()
	b.mu.Lock()
	idle := b.sessions == 0 && p.blobs[b.blob.Digest] == b
	b.mu.Unlock()
	if idle {
		delete(p.blobs, b.blob.Digest)
		p.wait.Add(1)
	}
	p.mu.Unlock()
	if !idle {
		return
	}
	defer p.wait.Done()
	b.flows.stop()
	b.close()
}
