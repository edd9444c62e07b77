package trunk

import (
	"slices"
	"time"

	"ore/vnet/trunk/datagram"
)

// Sizes of datagrams, as UDP carries them, and the search for the largest.
const (
	// floorSize is used where not even that passes: an IPv4 path of 576 bytes,
	// less a margin for tunnels.
	floorSize = 508
	// enough is how near the search comes to the largest size that passes.
	enough = 16
	// sizeTries is how often a size is tried: one loss says nothing.
	sizeTries = 3
	// sizeWait is how long the echo of a try may take. A path with a full queue
	// takes longer, and is then searched again by searchAgain.
	sizeWait = 500 * time.Millisecond
	// searchAgain is after which time a path may have become wider (RFC 8899,
	// 5.1.1: PMTU_RAISE_TIMER).
	searchAgain = 10 * time.Minute
	// blackHole is how many probes of the size in use may be lost in a row while
	// smaller datagrams come.
	blackHole = 4
)

// sizes finds how large datagrams may be (RFC 8899, for one path). It does no
// I/O; its owner sends the probes that it asks for.
type sizes struct {
	now    int // proven, or the base to begin with
	above  int // the least size that is known not to pass, or the ceiling and one
	ask    int // the size being tried; 0 when none
	tries  int
	asked  time.Time
	again  time.Time // when to search again
	missed int       // probes of the size in use, in a row
}

// usual are payloads of UDP over IPv4 for MTUs that are usual: tunnels,
// Ethernet, and larger Ethernet. They are tried before the middle.
func usual() []int {
	const h = datagram.Headers4
	return []int{1392 - h, 1420 - h, 1450 - h, 1500 - h, 4000 - h, 9000 - h}
}

// begin starts a search below and including ceiling.
func (z *sizes) begin(ceiling int, now time.Time) {
	if z.now == 0 {
		z.now = min(datagram.BaseSize, ceiling)
	}
	z.now = min(z.now, ceiling)
	z.above, z.ask, z.again = ceiling+1, 0, now.Add(searchAgain)
	if ceiling > z.now {
		z.ask, z.tries = ceiling, 0
	}
}

// want returns the size of a probe to be sent now, or 0 and when to ask again.
func (z *sizes) want(now time.Time) (size int, due time.Time) {
	if z.ask == 0 {
		return 0, z.again
	}
	if due := z.asked.Add(sizeWait); z.tries > 0 && now.Before(due) {
		return 0, due
	}
	if z.tries == sizeTries {
		z.above = z.ask
		z.choose()
		if z.ask == 0 {
			return 0, z.again
		}
	}
	z.tries++
	z.asked = now
	return z.ask, now.Add(sizeWait)
}

// choose picks what to try next between what passes and what does not.
func (z *sizes) choose() {
	z.ask, z.tries = 0, 0
	if z.above-z.now <= enough {
		return
	}
	list := usual()
	if i := slices.IndexFunc(list, func(n int) bool { return n > z.now && n < z.above }); i >= 0 {
		for i+1 < len(list) && list[i+1] < z.above {
			i++
		}
		z.ask = list[i]
		return
	}
	z.ask = (z.now + z.above) / 2
}

// echoed notes that a datagram of a size has come through.
func (z *sizes) echoed(size int) {
	if size >= z.now {
		z.missed = 0
	}
	if size <= z.now {
		return
	}
	z.now = size
	if z.ask != 0 && size >= z.ask {
		z.choose()
	}
}

// lost notes that a probe of the size in use was not echoed, and reports whether
// the size was lowered for it; then another search is due.
func (z *sizes) lost() bool {
	z.missed++
	if z.missed < blackHole || z.now <= floorSize {
		return false
	}
	z.missed = 0
	if z.now > datagram.BaseSize {
		z.now = datagram.BaseSize
	} else {
		z.now = floorSize
	}
	return true
}
