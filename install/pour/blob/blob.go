// Package blob reads blobs, of which digest and size are known, from whichever
// of several places has them: files at hand, caches and other machines.
//
// Places are tried in the order given. A stream that breaks, stalls or ends
// early goes on where it ended, at the next place; after the last one comes the
// first one again, until a number of rounds brought no byte. A place that does
// not have the blob, or not as a blob of this size, is not asked again. Over
// HTTP a blob is asked for by Range (RFC 9110, section 14): who serves it may
// be receiving it still.
//
// Whether the bytes are those of the digest is known only when all have come:
// [Stream] does not check them, and says where they came from.
package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"ore"
)

const (
	// rounds is how often all places are tried without a single byte coming: with
	// the pauses below it outlasts the restart of a cache, but not a user's patience.
	rounds = 5
	// defaultPause is the wait after the first round; each further one is twice
	// as long.
	defaultPause = 250 * time.Millisecond
	// defaultStall is how long a place may be silent. It is another machine or a
	// cache, with others to serve, and there may be another place.
	defaultStall = 20 * time.Second
)

// Blob is a blob and the places where it may be had: paths, or addresses of
// HTTP.
type Blob struct {
	Digest ore.Digest
	Size   int64
	From   []string
}

// Client reads blobs. The zero value is ready to use.
type Client struct {
	HTTP  *http.Client  // nil means http.DefaultClient
	Pause time.Duration // after the first round; 0 means 250 ms
	Stall time.Duration // without a byte; 0 means 20 s
}

// Open returns the bytes of b from the offset from on up to the offset to. It
// only fails by what Read says. Close must be called.
func (c *Client) Open(ctx context.Context, b Blob, from, to int64) *Stream {
	return &Stream{client: c, ctx: ctx, blob: b, at: from, end: to, left: slices.Clone(b.From), failed: map[string]error{}}
}

// Stream is a range of a blob as it comes. It is used by one goroutine.
type Stream struct {
	client *Client
	ctx    context.Context // of Open: a Read cannot be given one
	blob   Blob
	at     int64 // of the next byte
	end    int64

	left   []string         // places that may have it, the one in use first
	tried  int              // how many of left have failed since the last byte
	round  int              // how often all have since the last byte
	failed map[string]error // what was last wrong with each
	used   []string         // places that gave bytes
	body   *body            // the one in use, nil for none
}

// Read implements io.Reader. An error names every place and what is wrong
// with it.
func (s *Stream) Read(b []byte) (int, error) {
	if s.at >= s.end {
		return 0, io.EOF
	}
	if len(b) == 0 {
		return 0, nil
	}
	for {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		if len(s.left) == 0 {
			return 0, s.lost()
		}
		n, err := s.once(b)
		if n > 0 {
			s.at += int64(n)
			s.tried, s.round = 0, 0
			if !slices.Contains(s.used, s.left[0]) {
				s.used = append(s.used, s.left[0])
			}
			return n, nil // what is wrong shows again at the next Read
		}
		if err := s.next(err); err != nil {
			return 0, err
		}
	}
}

// once reads from the place in use.
func (s *Stream) once(b []byte) (int, error) {
	if s.body == nil {
		var err error
		if s.body, err = s.client.open(s.ctx, s.left[0], s.at, s.end, s.blob.Size); err != nil {
			return 0, err
		}
	}
	b = b[:min(int64(len(b)), s.end-s.at)]
	n, err := s.body.Read(b)
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("it ended at byte %d of %d: %w", s.at, s.blob.Size, io.ErrUnexpectedEOF)
	}
	return n, err
}

// next turns to the next place, and waits when all have failed.
func (s *Stream) next(why error) error {
	place := s.left[0]
	s.close()
	s.failed[place] = why
	s.left = s.left[1:]
	var never *absence
	if !errors.As(why, &never) {
		s.left = append(s.left, place)
		s.tried++
	}
	if s.tried < len(s.left) || len(s.left) == 0 {
		return nil
	}
	s.tried = 0
	if s.round++; s.round == rounds {
		return s.lost()
	}
	pause := s.client.Pause
	if pause == 0 {
		pause = defaultPause
	}
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-time.After(pause << (s.round - 1)):
		return nil
	}
}

// lost says that no place gives the bytes. It does not match an EIO of where they come
// from, which is not one of where they go.
func (s *Stream) lost() error {
	if len(s.blob.From) == 0 {
		return fmt.Errorf("blob %s: no place is known for it", s.blob.Digest.Short())
	}
	all := []error{fmt.Errorf("blob %s: byte %d cannot be had", s.blob.Digest.Short(), s.at)}
	for _, place := range s.blob.From {
		switch err := s.failed[place]; {
		case errors.Is(err, syscall.EIO):
			all = append(all, fmt.Errorf("from %s: %v", place, err))
		case err != nil:
			all = append(all, fmt.Errorf("from %s: %w", place, err))
		}
	}
	return errors.Join(all...)
}

// Used returns the places that gave bytes.
func (s *Stream) Used() []string { return s.used }

// Close ends the reading.
func (s *Stream) Close() error {
	s.close()
	return nil
}

func (s *Stream) close() {
	if s.body != nil {
		s.body.close()
		s.body = nil
	}
}

// absence is why a place need not be asked again.
type absence struct{ error }

// Unwrap returns the cause.
func (a *absence) Unwrap() error { return a.error }

// absent returns an absence.
func absent(format string, args ...any) error { return &absence{fmt.Errorf(format, args...)} }

// body is what a place gives.
type body struct {
	io.Reader
	close func()
}

// open asks a place for the bytes from the offset at up to end of a blob that
// has size bytes.
func (c *Client) open(ctx context.Context, place string, at, end, size int64) (*body, error) {
	if strings.HasPrefix(place, "http://") || strings.HasPrefix(place, "https://") {
		return c.ask(ctx, place, at, end, size)
	}
	f, err := os.Open(place)
	if err != nil {
		return nil, &absence{err}
	}
	// A block device, as a machine is given a layer, has no size by stat(2).
	have, err := f.Seek(0, io.SeekEnd)
	if err == nil && have < size {
		err = fmt.Errorf("it has %d bytes, not %d", have, size)
	}
	if err != nil {
		f.Close() // it was only read
		return nil, &absence{err}
	}
	return &body{io.NewSectionReader(f, at, end-at), func() { f.Close() }}, nil
}
