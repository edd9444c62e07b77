package client

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"

	"ore"
)

// span reads a range of a blob. Where the connection breaks it goes on with a
// new one, as long as it gets further.
type span struct {
	c         *Client
	ctx       context.Context
	digest    ore.Digest
	at, end   int64
	body      io.ReadCloser
	failed    int // tries in a row that brought nothing
	exhausted error
}

func (c *Client) span(ctx context.Context, d ore.Digest, offset, size int64) *span {
	return &span{c: c, ctx: ctx, digest: d, at: offset, end: offset + size}
}

// Read implements io.Reader.
func (s *span) Read(b []byte) (int, error) {
	for {
		switch {
		case s.at == s.end:
			return 0, io.EOF
		case s.exhausted != nil:
			return 0, s.exhausted
		case s.body == nil:
			if s.exhausted = s.open(); s.exhausted != nil {
				return 0, s.exhausted
			}
		}
		n, err := s.body.Read(b[:min(int64(len(b)), s.end-s.at)])
		s.at += int64(n)
		if n > 0 {
			s.failed = 0
		}
		if err != nil && s.at < s.end {
			s.body.Close()
			s.body = nil
			s.exhausted = s.rest(err)
		}
		if n > 0 || s.exhausted != nil {
			return n, s.exhausted
		}
	}
}

// rest waits before the next try, or gives up with err.
func (s *span) rest(err error) error {
	if s.failed++; s.failed >= tries || s.ctx.Err() != nil {
		return fmt.Errorf("cache %s: blob %s: %w", s.c.base.Host, s.digest.Short(), err)
	}
	pause := min(firstPause<<(s.failed-1), lastPause)
	return sleep(s.ctx, pause/2+rand.N(pause))
}

func (s *span) open() error {
	r, err := s.c.send(s.ctx, call{method: http.MethodGet, path: "/v1/blobs/" + string(s.digest),
		header: http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", s.at, s.end-1)}}})
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusPartialContent {
		r.Body.Close()
		return fmt.Errorf("cache %s: blob %s: asked for a range, got %s", s.c.base.Host, s.digest.Short(), r.Status)
	}
	s.body = r.Body
	return nil
}

// Close implements io.Closer.
func (s *span) Close() error {
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
