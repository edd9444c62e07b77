package chain

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"ore/chain/pulse"
	"ore/chain/set"
)

// Times of the receiving side.
const (
	// DefaultSilence is how long a source may say nothing (it beats ten times as
	// often) until it is held to be lost. A killed process is noticed at once,
	// by its closed connection, a host or a cable that is gone in less than half of
	// that, since nothing is acknowledged; this is for one that hangs.
	DefaultSilence = time.Second
	// retryEvery is the pause before the same source is tried again, as long as
	// nobody names another one.
	retryEvery = 200 * time.Millisecond
	// maxWants bounds the sources of one blob.
	maxWants = 64
)

// Dialer says how connections are made.
type Dialer struct {
	// TLS, where set, goes under each connection and adds secrecy. It must ask
	// for the other side's certificate and check it.
	TLS *tls.Config
	// Dial makes connections; nil means plain TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// link connects and proves both sides' keys to each other.
func (d Dialer) link(ctx context.Context, address string, g Grant) (*link, error) {
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: handshakeTimeout}).DialContext
	}
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	l, err := open(secure(c, d.TLS, false), g)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return l, nil
}

// Want says from whom to fetch which chunks.
type Want struct {
	Stripe  int    // a number that reports repeat
	Source  string // its name, for reports
	Address string
	Chunks  set.Set
}

func (w Want) same(o Want) bool {
	return w.Stripe == o.Stripe && w.Source == o.Source && w.Address == o.Address && w.Chunks.Equal(o.Chunks)
}

// flow fetches what one Want says, for as long as it takes.
type flow struct {
	peer   *Peer
	blob   *partial
	want   Want
	grant  Grant
	ctx    context.Context // ends with the flow
	cancel context.CancelFunc

	mu    sync.Mutex // guards those below
	cause string     // why the source was lost the last time; empty while all is well
	lost  int        // how often
	wrong bool       // it sent bytes that do not match
	first time.Time  // when its first chunk was here
	last  time.Time  // and its last until now
}

// flows are those of one blob.
type flows struct {
	mu      sync.Mutex // guards running
	running map[*flow]bool
	wait    sync.WaitGroup
}

// fetch makes the flows of a blob be those that wants says. What is the same
// goes on undisturbed; what is new goes on from what the blob has by then.
func (p *Peer) fetch(ctx context.Context, b *partial, wants []Want, g Grant) {
	fs := b.flows
	fs.mu.Lock()
	defer fs.mu.Unlock()
	stay := make([]bool, len(wants))
	for f := range fs.running {
		i := slices.IndexFunc(wants, f.want.same)
		if i >= 0 && f.healthy() {
			stay[i] = true
			continue
		}
		f.cancel()
		delete(fs.running, f)
	}
	for i, w := range wants {
		if stay[i] {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		f := &flow{peer: p, blob: b, want: w, grant: g, ctx: ctx, cancel: cancel}
		fs.running[f] = true
		fs.wait.Add(1)
		go func() {
			defer fs.wait.Done()
			defer cancel()
			f.run(ctx)
		}()
	}
}

// stop ends all flows and waits for them.
func (fs *flows) stop() {
	fs.mu.Lock()
	for f := range fs.running {
		f.cancel()
		delete(fs.running, f)
	}
	fs.mu.Unlock()
	fs.wait.Wait()
}

func (f *flow) healthy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause == ""
}

// run tries the source until all that was wanted is here.
func (f *flow) run(ctx context.Context) {
	for {
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if err = f.blob.finish(); err == nil {
				f.peer.poke()
				return
			}
			f.blob.fail(err)
		}
		f.mu.Lock()
		f.cause, f.lost, f.wrong = err.Error(), f.lost+1, errors.Is(err, ErrWrongBytes)
		f.mu.Unlock()
		f.peer.poke()
		if f.blob.failed() {
			return // no source can help
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryEvery):
		}
	}
}

// once makes one connection and fetches as much as comes.
func (f *flow) once(ctx context.Context) error {
	if err := f.blob.first(ctx, func() error { return f.peer.openKept(f.blob) }); err != nil {
		return err
	}
	missing := f.missing()
	if missing.Count() == 0 && f.blob.opened() {
		return nil
	}
	l, err := f.peer.cfg.Dialer.link(ctx, f.want.Address, f.grant)
	if err != nil {
		return err
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Conn.Close() })()
	in := f.peer.incoming(l)
	if err := f.openFetched(ctx, in); err != nil {
		return err
	}
	missing = f.missing()
	if missing.Count() == 0 {
		return nil
	}
	if err := l.send(request{Blob: f.blob.blob.Digest, Want: missing}); err != nil {
		return err
	}
	return f.chunks(in, missing)
}

func (f *flow) missing() set.Set {
	f.blob.mu.Lock()
	defer f.blob.mu.Unlock()
	return f.want.Chunks.Without(f.blob.have)
}

func (p *partial) opened() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.file != nil
}

func (p *partial) failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken != nil
}

// first runs do unless the blob is open already, one at a time. The opening itself goes on when the flow is replaced: what
// stands in a file is looked at once.
func (p *partial) first(ctx context.Context, do func() error) error {
	select {
	case p.opening <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.opening }()
	if p.opened() {
		return nil
	}
	return do()
}

// openKept opens the blob by the list that an earlier life kept, if there is one.
func (p *Peer) openKept(b *partial) error {
	if list := b.keptList(); list != nil {
		return b.open(p.ctx, list, p.cfg.Fill)
	}
	return nil
}

// openFetched opens the blob by the source's list. All flows may ask for it at
// once, and the first to have it wins: if one waited for another, hosts that
// feed each other in different stripes would wait for each other.
func (f *flow) openFetched(ctx context.Context, in *incoming) error {
	if f.blob.opened() {
		return nil
	}
	if err := in.link.send(request{Blob: f.blob.blob.Digest, List: true, Want: set.New(0)}); err != nil {
		return err
	}
	h, err := in.next()
	if err != nil {
		return err
	}
	if h.number != 0 || int64(h.size) > int64(MaxList) || int64(h.size) > int64(64+f.blob.blob.Chunks*(4+32)) {
		return fmt.Errorf("list of blob %.12s: frame %d of %d bytes: %w", f.blob.blob.Digest, h.number, h.size, ErrWrongBytes)
	}
	b := make([]byte, h.size)
	if err := in.full(b); err != nil {
		return err
	}
	if err := in.link.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return f.blob.first(ctx, func() error { return f.blob.open(f.peer.ctx, b, f.peer.cfg.Fill) })
}

// chunks takes what comes until all that was asked for is here.
func (f *flow) chunks(in *incoming, missing set.Set) error {
	var buf []byte
	f.blob.mu.Lock()
	list := f.blob.list
	f.blob.mu.Unlock()
	for left := missing.Count(); left > 0; left-- {
		h, err := in.next()
		if err != nil {
			return err
		}
		i := int(h.number)
		if !missing.Has(i) || int64(h.size) != list.Chunks[i].Size {
			return fmt.Errorf("blob %.12s from %s: frame %d of %d bytes was not asked for: %w", f.blob.blob.Digest, f.want.Source, h.number, h.size, ErrWrongBytes)
		}
		missing.Remove(i)
		buf = grow(buf, int64(h.size))
		if err := in.full(buf); err != nil {
			return err
		}
		ahead, err := f.blob.put(i, buf)
		if err != nil {
			return fmt.Errorf("from %s: %w", f.want.Source, err)
		}
		f.peer.taken.Add(list.Chunks[i].Size)
		if ahead {
			f.peer.poke()
		}
		f.well()
		f.peer.leisure.Leave(f.ctx, list.Chunks[i].Size, f.blob.hasTime)
	}
	return nil
}

// well notes that the source gives what it should.
func (f *flow) well() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cause, f.last = "", time.Now()
	if f.first.IsZero() {
		f.first = f.last
	}
}

// incoming reads frames, and gives up on a source that is silent.
type incoming struct {
	link  *link
	from  pulse.Reader
	quick bool // the last chunk came fast
}

func (p *Peer) incoming(l *link) *incoming {
	return &incoming{link: l, from: pulse.Reader{Conn: l.Conn, Silence: p.cfg.silence(), Ask: make([]byte, 4)}}
}

// errGone is what a source says that cannot go on.
var errGone = errors.New("the source cannot serve it any more")

// next returns the next frame with bytes; beats are passed over.
func (in *incoming) next() (head, error) {
	for {
		var b [headSize]byte
		if err := in.full(b[:]); err != nil {
			return head{}, err
		}
		h := parseHead(b)
		switch {
		case h.number < noChunk:
			return h, nil
		case h.number == frGone:
			return h, errGone
		case h.number != frBeat:
			return h, fmt.Errorf("unknown frame %#x: %w", h.number, ErrWrongBytes)
		}
	}
}

// full fills b. Each byte that comes gives the source time for the next.
func (in *incoming) full(b []byte) error {
	begun, size := time.Now(), len(b)
	defer in.from.WakeAt(1)
	for len(b) > 0 {
		if in.quick && size > wakeLeast {
			in.from.WakeAt(min(len(b), wakeMost))
		}
		n, err := in.from.Read(b)
		b = b[n:]
		if errors.Is(err, io.EOF) && len(b) > 0 {
			return fmt.Errorf("the source hung up: %w", io.ErrUnexpectedEOF)
		}
		if err != nil && len(b) > 0 {
			return err
		}
	}
	if size > wakeLeast {
		in.quick = time.Since(begun) < in.from.Silence/quickPart
	}
	return nil
}

// A chunk of a fast source is waited for as a whole: being woken for each packet
// of it would cost more than all the rest. Of a slow one each byte counts as a
// sign of life.
const (
	wakeLeast = 4 << 10   // below, it is not worth two system calls
	wakeMost  = 128 << 10 // more than that might not fit into the socket
	quickPart = 8         // of the time of silence is what a chunk of a fast source takes
)
