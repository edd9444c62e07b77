package chain

import (
	"context"
	"errors"
	"io"
	"sort"
	"sync"
	"time"

	"ore/chain/set"
)

const (
	// hurryEvery is how often a reader that waits asks again: the source that it
	// asked may be gone, and the conductor has named another one.
	hurryEvery = 500 * time.Millisecond
	// maxHurries bounds the requests out of order of one blob that are under way:
	// each is a connection here and at the source.
	maxHurries = 8
	// hurryMore is how many chunks behind a missing one are asked for with it: who
	// reads where nobody expected it often reads on, and the way there and back
	// takes longer than a chunk.
	hurryMore = 3
)

// ErrAbsent is what a Reader returns for a blob that the peer does not know, or
// knows no more.
var ErrAbsent = errors.New("the blob is not on its way here")

// Reader reads a blob that comes in. It sees bytes only once they are verified,
// and waits for those that are missing. It may be used by any number of
// goroutines, and must be closed.
type Reader struct {
	peer   *Peer
	digest Digest

	mu sync.Mutex // guards at
	at *partial   // what it reads from; nil if that is not here
}

// Reader returns a reader of a blob, which may be one that is still to come. A
// file that it has begun to read it can read when the transfer is over, too, and
// when its name is gone.
func (p *Peer) Reader(d Digest) *Reader {
	r := &Reader{peer: p, digest: d}
	r.attach()
	return r
}

// ReadAt fills b from offset on, as far as the blob goes, once all of it is here.
// What is missing is asked for out of the order in which the rest comes.
func (r *Reader) ReadAt(ctx context.Context, b []byte, offset int64) (int, error) {
	for {
		n := r.attach()
		if n == nil {
			return 0, ErrAbsent
		}
		if !n.isWhole() {
			r.peer.leisure.Read()
		}
		err := n.reach(ctx, offset, offset+int64(len(b)))
		if errors.Is(err, errReleased) && r.leave(n) {
			continue // perhaps it comes anew
		}
		if err != nil {
			return 0, err
		}
		k, err := n.file.ReadAt(b, offset)
		if errors.Is(err, io.EOF) && offset+int64(k) == n.blob.Size {
			err = nil
		}
		return k, err
	}
}

// isWhole says whether all is here: nothing of it is on its way any more.
func (p *partial) isWhole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.whole
}

// Close lets go of the file.
func (r *Reader) Close() {
	r.mu.Lock()
	n := r.at
	r.at = nil
	r.mu.Unlock()
	if n != nil {
		n.unread()
	}
}

// attach returns what is to be read from, nil if there is nothing.
func (r *Reader) attach() *partial {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at != nil {
		return r.at
	}
	n := r.peer.blob(r.digest)
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.readers++
	r.at = n
	return n
}

// leave lets go of n, which was released before it was whole.
func (r *Reader) leave(n *partial) bool {
	r.mu.Lock()
	mine := r.at == n
	if mine {
		r.at = nil
	}
	r.mu.Unlock()
	if mine {
		n.unread()
	}
	return true
}

// unread ends a reader's hold of the file.
func (p *partial) unread() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers--; p.readers == 0 && p.closed && p.file != nil {
		p.file.Close()
	}
}

// sequence is the order in which chunks are sent now, and which others wait for most.
func (p *partial) sequence() ([]int, set.Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq, p.leading
}

// reach returns when all bytes of a range are here.
func (p *partial) reach(ctx context.Context, from, to int64) error {
	there := func() bool {
		if p.file == nil {
			return false
		}
		for i := p.chunkAt(from); i < len(p.list.Chunks) && p.list.Chunks[i].Offset < to; i++ {
			if !p.have.Has(i) {
				return false
			}
		}
		return true
	}
	p.mu.Lock()
	done := there()
	p.mu.Unlock()
	if done {
		return nil
	}
	t := time.NewTicker(hurryEvery)
	defer t.Stop()
	for {
		p.hurry(p.missing(from, to))
		if ok, err := p.wait(ctx, t.C, there); ok || err != nil {
			return err
		}
	}
}

// chunkAt is the first chunk that ends behind an offset. It is called with mu held.
func (p *partial) chunkAt(offset int64) int {
	return sort.Search(len(p.list.Chunks), func(i int) bool { return p.list.Chunks[i].Offset+p.list.Chunks[i].Size > offset })
}

// missing returns the chunks of a range that are not here, with some behind them.
func (p *partial) missing(from, to int64) set.Set {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := set.New(p.blob.Chunks)
	if p.file == nil {
		return s
	}
	more := hurryMore
	for i := p.chunkAt(from); i < len(p.list.Chunks); i++ {
		if p.list.Chunks[i].Offset >= to {
			more--
		}
		if more < 0 {
			break
		}
		if !p.have.Has(i) {
			s.Add(i)
		}
	}
	return s
}

// hurry asks for chunks out of order those from whom they are to come.
func (p *partial) hurry(want set.Set) {
	p.flows.mu.Lock()
	defer p.flows.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	want = want.Without(p.have).Without(p.hurried)
	if p.ahead > 0 {
		want = want.Without(p.leading) // they are on their way, before all else
	}
	for f := range p.flows.running {
		part := want.Without(want.Without(f.want.Chunks))
		if part.Count() == 0 || p.hurries == maxHurries {
			continue
		}
		p.hurries++
		p.rushed.Note()
		p.hurried = p.hurried.With(part)
		want = want.Without(part)
		rush := &flow{peer: f.peer, blob: p, want: f.want, grant: f.grant, ctx: f.ctx}
		p.flows.wait.Go(func() { rush.rush(part) })
	}
}

// hasTime says whether nobody waits for what is still to come: it is read here, and
// all was here that was read, or almost all.
func (p *partial) hasTime() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.readers > 0 && p.ahead == 0 && p.hurries == 0 && !p.rushed.Many()
}

// rush fetches chunks that somebody waits for. If it cannot they come in their
// turn, or with the next request.
func (f *flow) rush(part set.Set) {
	defer func() {
		f.blob.mu.Lock()
		defer f.blob.mu.Unlock()
		f.blob.hurries--
		f.blob.hurried = f.blob.hurried.Without(part)
	}()
	l, err := f.peer.cfg.Dialer.link(f.ctx, f.want.Address, f.grant)
	if err != nil {
		return
	}
	defer l.Close()
	defer context.AfterFunc(f.ctx, func() { l.Conn.Close() })()
	if l.send(request{Blob: f.blob.blob.Digest, Want: part.Clone(), Urgent: true}) != nil {
		return
	}
	if f.chunks(f.peer.incoming(l), part.Clone()) != nil {
		return
	}
	if f.blob.finish() == nil {
		f.peer.poke()
	}
}
