package trunk

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"ore/vnet/trunk/seal"
)

// reason is why something was dropped.
type reason uint8

const (
	passed     reason = iota
	corrupt           // datagrams not made by who has the key
	replayed          // datagrams seen before, or too old to know
	stale             // datagrams of a session that is no more
	malformed         // datagrams that make no sense
	incomplete        // frames of which pieces were lost
	full              // frames that came faster than the link is
	down              // frames while there was no link
	unsent            // datagrams that the kernel did not take
	reasons
)

// String names the reason, as in statistics.
func (r reason) String() string {
	return [...]string{"passed", "corrupt", "replayed", "stale", "malformed", "incomplete", "full", "down", "unsent"}[r]
}

// reasonOf returns why a datagram was not opened.
func reasonOf(err error) reason {
	if errors.Is(err, seal.ErrReplayed) {
		return replayed
	}
	return corrupt
}

// counts is what a link counts while it works.
type counts struct {
	sentFrames, sentDatagrams, sentBytes             atomic.Uint64
	receivedFrames, receivedDatagrams, receivedBytes atomic.Uint64
	sessions                                         atomic.Uint64
	dropped                                          [reasons]atomic.Uint64
}

func (c *counts) count(r reason, n int) { c.dropped[r].Add(uint64(n)) }

// sent counts a batch.
func (c *counts) sent(frames int, p *packer) {
	c.sentFrames.Add(uint64(frames))
	c.sentDatagrams.Add(p.sent.datagrams)
	c.sentBytes.Add(p.sent.bytes)
	c.dropped[unsent].Add(p.sent.failed)
	p.sent = sentCounts{}
}

// received counts a datagram.
func (c *counts) received(a *arrival) {
	c.receivedDatagrams.Add(1)
	c.receivedBytes.Add(uint64(a.size))
	c.receivedFrames.Add(uint64(a.frames))
}

// Stats is what is known of a link to another host.
type Stats struct {
	ID      string
	Address netip.AddrPort
	Up      bool
	Since   time.Time     // since when it is up, or down
	Way     string        `json:",omitempty"` // "udp" or "tcp" while it is up
	MTU     int           `json:",omitempty"` // of the path, in bytes of an IP packet; 0 over TCP
	RTT     time.Duration `json:",omitempty"` // smoothed
	MinRTT  time.Duration `json:",omitempty"`
	Rate    float64       `json:",omitempty"` // bytes a second of IP packets to there, as last measured; 0 if never
	Rated   time.Time     // when it was
	Keys    uint64        // how often keys were agreed upon

	Sent, Received Traffic
	// Dropped is what was lost on this side, by reason: frames and datagrams as
	// the package's page has them, and frames that the switch refused.
	Dropped map[string]uint64 `json:",omitempty"`
}

// Traffic is what went one way: frames of machines, and the datagrams and bytes
// in which they went.
type Traffic struct{ Frames, Datagrams, Bytes uint64 }

// stats returns what the link knows.
func (l *link) stats() Stats {
	l.receiving.Lock()
	lost := l.pieces.lost
	l.receiving.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Since: l.health.since, RTT: l.health.rtt, MinRTT: l.health.min, Rate: l.rate, Rated: l.measured, Keys: l.sessions.Load(),
		Sent:     Traffic{l.sentFrames.Load(), l.sentDatagrams.Load(), l.sentBytes.Load()},
		Received: Traffic{l.receivedFrames.Load(), l.receivedDatagrams.Load(), l.receivedBytes.Load()},
		Dropped:  map[string]uint64{},
	}
	if ses := l.current.Load(); ses != nil {
		w := ses.path.Load()
		s.Up, s.Way = true, w.Kind
		if w == l.udp {
			s.MTU = l.sizes.now + w.Headers
		}
	}
	for r := range l.dropped {
		if n := l.dropped[r].Load(); n > 0 {
			s.Dropped[reason(r).String()] = n
		}
	}
	if lost > 0 {
		s.Dropped[incomplete.String()] = lost
	}
	return s
}
