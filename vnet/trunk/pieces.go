package trunk

import (
	"time"

	"ore/vnet/ethernet"
)

// Bounds of frames that are being put together, for each peer.
const (
	// partials is how many frames may be incomplete at once. Datagrams that
	// overtake each other do so within a few frames. It is a power of two.
	partials = 64
	// partialAge is how long a frame may be incomplete: what is missing for
	// longer was lost. It is far below the time in which ids come again.
	partialAge = time.Second
	// maxRuns is how many separate runs of bytes of a frame are kept: a frame is
	// cut in order, so that more means a sender who is up to no good.
	maxRuns = 64
)

// pieces puts frames together. It is used by one goroutine at a time.
type pieces struct {
	pool  *ethernet.Pool
	slots [partials]partial
	lost  uint64 // frames that never became whole
}

// partial is a frame of which some bytes have come.
type partial struct {
	frame *ethernet.Frame // nil for an empty slot
	id    uint16
	runs  []run // in order, apart from each other
	begun time.Time
}

// run is bytes from, and before, an offset.
type run struct{ from, to int }

// add takes a piece and returns its frame once all of it has come.
func (p *pieces) add(r record, now time.Time) (*ethernet.Frame, error) {
	if r.total > p.pool.Max() || r.total < ethernet.HeaderSize {
		return nil, errMalformed
	}
	s := &p.slots[r.id%partials]
	if s.frame != nil && (s.id != r.id || now.Sub(s.begun) > partialAge) {
		p.drop(s)
	}
	if s.frame == nil {
		*s = partial{frame: p.pool.Get(r.total), id: r.id, runs: s.runs[:0], begun: now}
	}
	if r.total != len(s.frame.Bytes()) || !s.put(r) {
		p.drop(s)
		return nil, errMalformed
	}
	if s.runs[0].to-s.runs[0].from < r.total {
		return nil, nil
	}
	f := s.frame
	s.frame = nil
	return f, nil
}

// put copies a piece to its place, which must be free.
func (s *partial) put(r record) bool {
	n := run{r.offset, r.offset + len(r.data)}
	at := 0
	for at < len(s.runs) && s.runs[at].from < n.from {
		at++
	}
	before, after := at > 0 && s.runs[at-1].to >= n.from, at < len(s.runs) && n.to >= s.runs[at].from
	switch {
	case before && s.runs[at-1].to > n.from, after && n.to > s.runs[at].from:
		return false
	case before && after:
		s.runs[at-1].to = s.runs[at].to
		s.runs = append(s.runs[:at], s.runs[at+1:]...)
	case before:
		s.runs[at-1].to = n.to
	case after:
		s.runs[at].from = n.from
	case len(s.runs) == maxRuns:
		return false
	default:
		s.runs = append(s.runs, run{})
		copy(s.runs[at+1:], s.runs[at:])
		s.runs[at] = n
	}
	copy(s.frame.Bytes()[r.offset:], r.data)
	return true
}

// drop gives up a frame.
func (p *pieces) drop(s *partial) {
	s.frame.Release()
	s.frame = nil
	p.lost++
}

// expire gives up what is older than partialAge.
func (p *pieces) expire(now time.Time) {
	for i := range p.slots {
		if s := &p.slots[i]; s.frame != nil && now.Sub(s.begun) > partialAge {
			p.drop(s)
		}
	}
}

// close gives all up.
func (p *pieces) close() {
	for i := range p.slots {
		if s := &p.slots[i]; s.frame != nil {
			p.drop(s)
		}
	}
}
