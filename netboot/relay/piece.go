package relay

import (
	"context"
	"errors"
	"io"
	"time"

	"ore"
)

// ahead is how many chunks are asked for at most before who reads has come to them:
// as many as are on their way while one is written. Where one takes long, it is none:
// more at once would only take longer.
const ahead = 4

// errClosed is a chunk that is asked for when the installer ends.
var errClosed = errors.New("this machine passes on nothing any more")

// blob is a blob of which the sums are known.
type blob struct {
	relay  *Relay
	digest ore.Digest
	size   int64
	sums   []byte
	near   []*place // the best first
}

// key names a chunk.
type key struct {
	blob  ore.Digest
	index int64
}

// piece is a chunk that is here, or on its way.
type piece struct {
	done  chan struct{} // closed when bytes and err are set
	bytes []byte
	err   error
}

// wait returns its bytes, which nobody may change.
func (p *piece) wait(ctx context.Context) ([]byte, error) {
	select {
	case <-p.done:
		return p.bytes, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// want returns a chunk, which is on its way then if it was not before.
func (b *blob) want(index int64) *piece {
	r := b.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{b.digest, index}
	if p := r.pieces[k]; p != nil {
		return p
	}
	p := &piece{done: make(chan struct{})}
	if r.closed {
		p.err = errClosed
		close(p.done)
		return p
	}
	r.pieces[k] = p
	r.all.Go(func() {
		p.bytes, p.err = b.fetch(r.ctx, index)
		r.arrived(k, p)
		close(p.done)
	})
	return p
}

// arrived keeps a chunk, and lets the oldest go for it. Who waits has it in any case.
func (r *Relay) arrived(k key, p *piece) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.err != nil {
		delete(r.pieces, k) // the next who asks tries again
		return
	}
	r.held, r.used = append(r.held, k), r.used+int64(len(p.bytes))
	for r.used > r.config.Memory {
		oldest := r.held[0]
		r.used -= int64(len(r.pieces[oldest].bytes))
		delete(r.pieces, oldest)
		r.held = r.held[1:]
	}
}

// took notes how long this machine took for a chunk, once it had it.
func (r *Relay) took(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takes += (min(d, mostPace) - r.takes) / 8
}

// pace is how long it takes of late.
func (r *Relay) pace() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.takes
}

// reader reads a range of a blob. It is used by one goroutine.
type reader struct {
	ctx     context.Context // of the request
	blob    *blob
	at, end int64
	most    int64  // how many chunks may be asked for beyond the one that is read
	ahead   int64  // how many are
	bytes   []byte // of the chunk number index
	index   int64
	had     time.Time // since when
}

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	if r.at >= r.end {
		return 0, io.EOF
	}
	if err := r.load(); err != nil {
		return 0, err
	}
	n := copy(b[:min(int64(len(b)), r.end-r.at)], r.bytes[r.at-r.index*Chunk:])
	r.at += int64(n)
	return n, nil
}

// load waits for the chunk of the next byte.
func (r *reader) load() error {
	index := r.at / Chunk
	if r.bytes != nil && r.index == index {
		return nil
	}
	p := r.blob.want(index)
	for i := index + 1; i <= index+r.ahead && i*Chunk < r.end; i++ {
		r.blob.want(i)
	}
	begun := time.Now()
	if r.bytes != nil && r.most > 0 {
		r.blob.relay.took(begun.Sub(r.had))
	}
	var err error
	if r.bytes, err = p.wait(r.ctx); err != nil {
		return err
	}
	r.index, r.had = index, time.Now()
	if r.ahead = min(2*r.ahead+1, r.most); r.had.Sub(begun) > leastPatience {
		r.ahead = 0
	}
	return nil
}

// Close implements io.Closer: what is on its way may be of use to others.
func (r *reader) Close() error { return nil }

// given is a reader of the whole blob, for http.ServeContent, that counts.
type given struct{ reader }

// Read implements io.Reader.
func (g *given) Read(b []byte) (int, error) {
	n, err := g.reader.Read(b)
	g.blob.relay.given.Add(int64(n))
	return n, err
}

// Seek implements io.Seeker.
func (g *given) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += g.at
	case io.SeekEnd:
		offset += g.end
	}
	if offset < 0 {
		return 0, errors.New("before the first byte")
	}
	g.at = offset
	return offset, nil
}
