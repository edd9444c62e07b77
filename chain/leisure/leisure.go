// Package leisure says when what is still to come of a blob leaves cores and links
// to others. A machine that starts from a blob which is on its way waits for
// what it reads and then for cores; the rest of the blob is for later, and costs both
// a machine and its host more than it is worth as long as that goes on.
package leisure

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// step is how often it is looked whether the rest may go on, and rate what comes
	// until then, bytes a second: little beside what a core can take in, and a large
	// image comes in minutes even so.
	step = 100 * time.Millisecond
	rate = 512 << 10
	// burst is for how long after something was read of any blob more is awaited:
	// a machine that starts computes less than that between two reads.
	burst = time.Second
	// rushTime is for how long the rest does not wait once somebody has read much
	// that was not expected, and rushes how often he has by then. A few times
	// are chance: what a kernel reads ahead differs from start to start.
	rushTime = 5 * time.Second
	rushes   = 8
)

// Host is what all blobs of a host have in common. A nil Host has nothing to do.
type Host struct {
	busy func() bool
	read atomic.Pointer[time.Time] // when somebody read last
}

// New returns a host, of which busy says whether its cores have other work to do.
func New(busy func() bool) *Host {
	if busy == nil {
		return nil
	}
	return &Host{busy: busy}
}

// Read notes that somebody reads of a blob that is on its way.
func (h *Host) Read() {
	if h != nil {
		now := time.Now()
		h.read.Store(&now)
	}
}

// wanted says whether somebody else wants cores or the link.
func (h *Host) wanted() bool {
	last := h.read.Load()
	return last != nil && time.Since(*last) < burst || h.busy()
}

// Leave leaves cores and link to others for a while, after so many bytes, as long as
// the rest has time.
func (h *Host) Leave(ctx context.Context, size int64, hasTime func() bool) {
	if h == nil {
		return
	}
	most := time.Duration(float64(size) / rate * float64(time.Second))
	for begun := time.Now(); time.Since(begun) < most && hasTime() && h.wanted(); {
		select {
		case <-ctx.Done():
			return
		case <-time.After(step):
		}
	}
}

// Rush is how often somebody wanted what was not expected.
type Rush struct {
	times int
	last  time.Time
}

// Note notes one such time.
func (r *Rush) Note() {
	if time.Since(r.last) > rushTime {
		r.times = 0
	}
	r.times++
	r.last = time.Now()
}

// Many says whether that has been so often of late that all may be wanted.
func (r *Rush) Many() bool { return r.times >= rushes && time.Since(r.last) <= rushTime }
