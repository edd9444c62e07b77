package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"ore"
)

// known returns what is known of a blob, nil for nothing.
func (r *Relay) known(d ore.Digest) *blob {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blobs[d]
}

// forget forgets a blob: the next who asks for it begins anew.
func (r *Relay) forget(b *blob) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blobs[b.digest] == b {
		delete(r.blobs, b.digest)
	}
}

// blob returns what is known of a blob, for which the server is asked the first time.
// It is nil where the server has not said so in time, or says that it does not know.
func (r *Relay) blob(ctx context.Context, d ore.Digest) *blob {
	r.mu.Lock()
	b, asked := r.blobs[d], r.joining[d]
	if b == nil && asked == nil && !r.closed {
		asked = make(chan struct{})
		r.joining[d] = asked
		r.all.Go(func() { r.begin(d, asked) })
	}
	r.mu.Unlock()
	if b != nil || asked == nil {
		return b
	}
	wait := time.NewTimer(joinWait)
	defer wait.Stop()
	select {
	case <-asked:
	case <-wait.C:
	case <-ctx.Done():
	}
	return r.known(d)
}

// begin asks the server about a blob until it has an answer, whoever waits for that,
// and then closes asked.
func (r *Relay) begin(d ore.Digest, asked chan struct{}) {
	c, err := r.join(d)
	for errors.Is(err, errNotReady) && r.ctx.Err() == nil {
		select {
		case <-time.After(joinAgain):
			c, err = r.join(d)
		case <-r.ctx.Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(asked)
	delete(r.joining, d) // the next who asks tries again, unless it is known now
	if err != nil {
		return
	}
	b := &blob{relay: r, digest: d, size: c.Size, sums: c.Sums}
	for _, from := range c.From[:min(len(c.From), Neighbours)] {
		if r.places[from] == nil {
			r.places[from] = newPlace(from)
		}
		b.near = append(b.near, r.places[from])
	}
	r.blobs[d] = b
}

// join asks the server who is before this machine.
func (r *Relay) join(d ore.Digest) (c chain, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, joinTime)
	defer cancel()
	text, err := json.Marshal(join{Port: r.port})
	if err != nil {
		return c, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.config.Chain+string(d), bytes.NewReader(text))
	if err != nil {
		return c, err
	}
	resp, err := r.base.RoundTrip(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusServiceUnavailable {
		return c, errNotReady
	}
	if resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("the server answers %s", resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxChain)).Decode(&c); err != nil {
		return c, err
	}
	if c.Size < 0 || c.Size > maxBlob || int64(len(c.Sums)) != chunks(c.Size)*sha256.Size {
		return c, fmt.Errorf("%d bytes of sums for a blob of %d bytes", len(c.Sums), c.Size)
	}
	return c, nil
}

// plainly asks the server for a range of a blob of which nothing is known, until
// something is.
func (r *Relay) plainly(req *http.Request, d ore.Digest) (*http.Response, error) {
	resp, err := r.base.RoundTrip(req)
	from, to, _ := span(req.Header.Get("Range"))
	if err == nil && resp.StatusCode == http.StatusPartialContent {
		resp.Body = &early{relay: r, ctx: req.Context(), digest: d, at: from, end: to + 1, from: resp.Body, plain: true}
	}
	return resp, err
}

// early reads a range of a blob from the server itself, and from when on its chunks are
// known, by these. It is used by one goroutine.
type early struct {
	relay   *Relay
	ctx     context.Context // of the request
	digest  ore.Digest
	at, end int64
	from    io.ReadCloser
	plain   bool // it is the server's answer
}

// Read implements io.Reader.
func (e *early) Read(p []byte) (int, error) {
	if e.plain {
		e.change()
	}
	n, err := e.from.Read(p)
	e.at += int64(n)
	if e.plain {
		e.relay.came.home.Add(int64(n))
	}
	return n, err
}

// change goes over to chunks, if they are known and it is worth it.
func (e *early) change() {
	b := e.relay.known(e.digest)
	if b == nil {
		return
	}
	if end := min(e.end, b.size); end-e.at > Chunk {
		e.from.Close() // what is on its way is not wanted any more
		e.from, e.plain = &reader{ctx: e.ctx, blob: b, at: e.at, end: end, most: ahead}, false
	}
}

// Close implements io.Closer.
func (e *early) Close() error { return e.from.Close() }
