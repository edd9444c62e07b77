// Package turn decides which of several answers to one host goes on. Blobs that
// are sent to a host at once share its link: what goes first of one goes before the
// rest of another, since machines wait for the former.
package turn

import (
	"net"
	"sync"
	"time"
)

// MaxYield is how long one answer gives way to others in all: a host that does not
// take what it asked for must not keep itself from the rest for ever.
const MaxYield = 5 * time.Second

// Turns are those of all answers of a peer. The zero value has none.
type Turns struct {
	mu   sync.Mutex     // guards lead
	lead map[string]int // answers under way to a host that have left what goes first
}

func (t *Turns) add(to string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lead == nil {
		t.lead = map[string]int{}
	}
	if t.lead[to] += n; t.lead[to] == 0 {
		delete(t.lead, to)
	}
}

func (t *Turns) of(to string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lead[to]
}

// Turn is that of one answer. One goroutine uses it.
type Turn struct {
	all    *Turns
	to     string
	left   int           // chunks that go first and have not gone
	yields time.Duration // for how long it gave way in all
	since  time.Time     // until when that was counted, while it does
}

// Begin begins an answer to a host with so many chunks that go first. One that is
// urgent, since somebody waits for it, does not yield.
func (t *Turns) Begin(to net.Addr, first int, urgent bool) *Turn {
	n := &Turn{all: t, to: host(to), left: first}
	if urgent {
		n.yields = MaxYield
	}
	if first > 0 {
		t.add(n.to, 1)
	}
	return n
}

// host is the host of an address: its ports are those of streams.
func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

// Sent notes that a chunk went that goes first.
func (t *Turn) Sent() {
	if t.left--; t.left == 0 {
		t.all.add(t.to, -1)
	}
}

// End ends the answer, whether or not all has gone.
func (t *Turn) End() {
	if t.left > 0 {
		t.left = 0
		t.all.add(t.to, -1)
	}
}

// Yields says whether a chunk that does not go first has to wait, since other answers
// to the same host have left what does. It is asked again and again as long as
// nothing else can go: an answer that waited for its turn with such a chunk, and
// would not look at what else had come meanwhile, would have two answers wait for
// each other at each hop.
func (t *Turn) Yields() bool {
	now := time.Now()
	if !t.since.IsZero() {
		t.yields += now.Sub(t.since)
	}
	t.since = time.Time{}
	if t.yields >= MaxYield || t.all.of(t.to) <= min(t.left, 1) {
		return false
	}
	t.since = now
	return true
}

// Goes notes that a chunk goes: the answer does not give way while it does.
func (t *Turn) Goes() { t.since = time.Time{} }
