package chain

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"ore/chain/sendfile"
	"ore/chain/set"
	"ore/chain/turn"
)

// Times of a stream.
const (
	// beatEvery is how often a source that has nothing to send says that it is
	// alive.
	beatEvery = 100 * time.Millisecond
	// chunkTimeout bounds how long a chunk may take to leave: a reader slower
	// than 4 MiB in two minutes holds a descriptor for nothing.
	chunkTimeout = 2 * time.Minute
	// idleTimeout bounds how long a stream may stay open without a request.
	idleTimeout = time.Minute
)

// request asks for the list of a blob, or for chunks of it. Urgent ones are
// waited for by somebody who reads the blob: who lacks them asks for them too.
type request struct {
	Blob   Digest
	List   bool `json:",omitempty"`
	Want   set.Set
	Urgent bool `json:",omitempty"`
}

// Each answer is frames: a head, and behind it the bytes of a chunk or list.
// Heads whose number is no chunk's have no bytes.
const (
	headSize = 8
	// noChunk and above are not numbers of chunks.
	noChunk = 0xfffffff0
	frEnd   = noChunk + iota // all that was asked for was sent
	frBeat                   // nothing to send, but alive
	frGone                   // the source cannot serve this any more
)

type head struct {
	number, size uint32
}

func (h head) bytes() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, headSize), h.number)
	return binary.BigEndian.AppendUint32(b, h.size)
}

func parseHead(b [headSize]byte) head {
	return head{binary.BigEndian.Uint32(b[:4]), binary.BigEndian.Uint32(b[4:])}
}

// serve answers requests until the other side hangs up or misbehaves.
func (p *Peer) serve(ctx context.Context, l *link, first request) error {
	r := first
	for {
		b, err := p.readable(l.grant, r)
		if err != nil {
			return err
		}
		ctx, cancel := p.whileGranted(ctx, l.grant)
		s := &stream{link: l, blob: b, turns: &p.turns, urgent: r.Urgent}
		if r.Urgent {
			b.hurry(r.Want)
		}
		if r.List {
			err = s.sendList(ctx)
		} else {
			err = s.sendChunks(ctx, r.Want)
		}
		cancel()
		if err != nil {
			s.control(head{number: frGone}) // best effort: the stream ends anyway
			return err
		}
		if err := l.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return err
		}
		r = request{}
		if err := l.receive(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// readable returns the blob if the grant opens it.
func (p *Peer) readable(g Grant, r request) (*partial, error) {
	if !g.opens(r.Blob) {
		return nil, fmt.Errorf("serve blob %.12s: %w: the key does not open it", r.Blob, ErrRefused)
	}
	b := p.blob(r.Blob)
	if b == nil {
		return nil, fmt.Errorf("serve blob %.12s: %w: not here", r.Blob, ErrRefused)
	}
	if !r.List && r.Want.Of() != b.blob.Chunks {
		return nil, fmt.Errorf("serve blob %.12s: %w: asked for some of %d chunks, it has %d", r.Blob, ErrRefused, r.Want.Of(), b.blob.Chunks)
	}
	return b, nil
}

// stream is one answer under way. It holds no bytes: they go from the page
// cache to the socket, so that a slow reader costs a goroutine and no more.
type stream struct {
	link   *link
	blob   *partial
	turns  *turn.Turns
	urgent bool
}

func (s *stream) control(h head) error {
	if err := s.link.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil {
		return err
	}
	_, err := s.link.Conn.Write(h.bytes())
	return err
}

func (s *stream) sendList(ctx context.Context) error {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	if err := s.await(ctx, t.C, func() bool { return s.blob.file != nil }); err != nil {
		return err
	}
	b := s.blob.encoded
	if err := s.control(head{0, uint32(len(b))}); err != nil {
		return err
	}
	_, err := s.link.Conn.Write(b)
	return err
}

// await waits until ready says so, with a beat at each tick.
func (s *stream) await(ctx context.Context, ticks <-chan time.Time, ready func() bool) error {
	for {
		ok, err := s.blob.wait(ctx, ticks, ready)
		if ok || err != nil {
			return err
		}
		if err := s.control(head{number: frBeat}); err != nil {
			return err
		}
	}
}

// sendChunks sends what is wanted in the blob's order, as it comes; what is
// missing is left out until it is there, and does not hold up the rest.
func (s *stream) sendChunks(ctx context.Context, want set.Set) error {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	b, from, left := s.blob, 0, want.Count()
	seq, leading := b.sequence()
	turn := s.turns.Begin(s.link.RemoteAddr(), leading.Shared(want), s.urgent)
	defer turn.End()
	for ; left > 0; left-- {
		next := -1
		err := s.await(ctx, t.C, func() bool {
			for from < len(seq) && !want.Has(seq[from]) {
				from++
			}
			for at := from; at < len(seq); at++ {
				if i := seq[at]; want.Has(i) && b.have.Has(i) {
					next = i
					return leading.Has(i) || !turn.Yields()
				}
			}
			return false
		})
		if err != nil {
			return err
		}
		turn.Goes()
		want.Remove(next)
		c := b.list.Chunks[next]
		if err := s.link.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil {
			return err
		}
		if err := sendfile.Send(s.link.Conn, head{uint32(next), uint32(c.Size)}.bytes(), sendfile.Piece{File: b.file, Offset: c.Offset, Size: c.Size}); err != nil {
			return err
		}
		b.left(c.Size)
		if leading.Has(next) {
			turn.Sent()
		}
	}
	return s.control(head{number: frEnd})
}
