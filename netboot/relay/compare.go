package relay

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

const (
	// slowChunk is what a neighbour may take for a chunk, with those that are on their
	// way counted, and not be compared with the server.
	slowChunk = 100 * time.Millisecond
	// compareEach is how many slow chunks a machine gets before it compares: those with
	// few machines before them sooner, so that the first behind a slow one goes over to
	// the server, and those behind it stay.
	compareEach = 8
	// sample is how much of a chunk it asks the server for then: an eighth.
	sample = Chunk / 8
	// quicker is how many times as fast the server has to be.
	quicker = 3
)

// compare notes what a neighbour took for a chunk while some were on their way, and now
// and then, where that is much, has the server asked for a little, too. Where that comes
// several times as fast, the neighbour is left alone for a while.
func (b *blob) compare(p *place, took time.Duration, index int64) {
	pace := b.relay.pace()
	p.mu.Lock()
	p.each += (took - p.each) / 4
	each := p.each
	if p.slow++; each <= max(slowChunk, pace) {
		p.slow = -rand.IntN(compareEach) * len(b.near) // not all that were fast before at once
	}
	due := p.slow >= compareEach*len(b.near)
	if due {
		p.slow = 0
	}
	p.mu.Unlock()
	if !due {
		return
	}
	r := b.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.all.Go(func() {
			begun := time.Now()
			if b.sample(r.ctx, index, each/quicker) == nil {
				p.strike(nil, begun)
			}
		})
	}
}

// sample asks the server for the beginning of a chunk, and fails where a chunk would take
// longer than most.
func (b *blob) sample(ctx context.Context, index int64, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most*sample/Chunk)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.relay.home.url+string(b.digest), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", index*Chunk, min(index*Chunk+sample, b.size)-1))
	resp, err := b.relay.base.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(resp.Body, sample))
	b.relay.came.home.Add(n)
	return err
}
