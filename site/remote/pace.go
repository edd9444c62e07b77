package remote

import (
	"sync"
	"time"

	"ore/plan"
)

// An answer is short: what comes within leastSpan of its first bytes came in one
// piece, and shows no rate at all. Such links are taken for as fast as
// unseenRate, bytes a second; no short answer shows that one is faster.
const (
	leastSpan  = 2 * time.Millisecond
	leastBytes = 2 << 10
	unseenRate = 12.5e6
)

// pace is what one question showed of a link: how long until the first byte of the
// answer, and how fast the others came after it. The wait of the first must not
// count for the rate, or a link would seem slow because its answer was short, never
// be chosen, and so never be known better.
type pace struct {
	mu          sync.Mutex
	begun       time.Time
	first, last time.Time
	head, bytes int64 // the first piece, and all of them
	answered    func()
}

// begin starts a question. answered, if it is not nil, is called with its first piece.
func (p *pace) begin(now time.Time, answered func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun, p.first, p.last, p.head, p.bytes, p.answered = now, time.Time{}, time.Time{}, 0, 0, answered
}

// came notes n bytes.
func (p *pace) came(now time.Time, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n == 0 { // the end
		return
	}
	if p.bytes == 0 {
		p.first, p.head = now, n
		if p.answered != nil {
			p.answered()
		}
	}
	p.last, p.bytes = now, p.bytes+n
}

// try returns what was seen; false if nothing came.
func (p *pace) try() (plan.LinkTry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes == 0 || p.begun.IsZero() {
		return plan.LinkTry{}, false
	}
	t := plan.LinkTry{Request: p.first.Sub(p.begun).Seconds(), Rate: unseenRate}
	if span, rest := p.last.Sub(p.first), p.bytes-p.head; span >= leastSpan && rest >= leastBytes {
		t.Rate = min(unseenRate, float64(rest)/span.Seconds())
	}
	return t, true
}

// rate returns how many bytes a second came after the first piece; false if that was
// all, or came at once.
func (p *pace) rate() (float64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	span, rest := p.last.Sub(p.first), p.bytes-p.head
	if span < leastSpan || rest < leastBytes {
		return 0, false
	}
	return float64(rest) / span.Seconds(), true
}
