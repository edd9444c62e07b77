package trunk

import (
	"math/rand/v2"
	"time"

	"ore/vnet/trunk/datagram"
)

// arrival is an authentic datagram whose records are being taken.
type arrival struct {
	link    *link
	session *session
	via     *datagram.Path
	size    int
	now     time.Time
	frames  int
	bytes   int // of frames
}

// take does what a record says.
func (a *arrival) take(r record) error {
	l := a.link
	switch r.kind {
	case recordPad:
	case recordFrame:
		if len(r.data) > l.pieces.pool.Max() {
			return errMalformed
		}
		f := l.pieces.pool.Get(len(r.data))
		copy(f.Bytes(), r.data)
		a.frames++
		a.bytes += len(r.data)
		l.input(f)
	case recordPiece:
		f, err := l.pieces.add(r, a.now)
		if err != nil || f == nil {
			return err
		}
		a.frames++
		a.bytes += len(f.Bytes())
		l.input(f)
	case recordProbe:
		l.reply(outgoing{path: a.via, keys: a.session, record: record{kind: recordEcho, number: r.number, time: r.time, size: a.size}})
	default:
		a.note(r)
	}
	return nil
}

// note takes what is about the link itself.
func (a *arrival) note(r record) {
	l := a.link
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.kind {
	case recordEcho:
		if l.health.echoed(r, a.now, l.epoch) && a.via == l.udp {
			l.sizes.echoed(r.size)
			l.udp.SetSize(l.sizes.now)
			l.kick()
		}
	case recordTrain:
		l.train.came(r, a.size, a.now)
	case recordAsk:
		if t, ok := l.train.tell(r.id); ok {
			l.reply(outgoing{path: a.via, keys: a.session, record: t})
		}
	case recordTell:
		l.train.told(r)
	}
}

// rttShare is the weight of a new sample of the round trip (RFC 6298, 2).
const rttShare = 8

// recentProbes is how many probes are remembered, to know the echo of one that
// was really sent.
const recentProbes = 16

// health is what probes tell.
type health struct {
	since    time.Time // since when the link is up, or down
	next     time.Time // of the next probe
	number   uint32    // of the last one
	sizes    [recentProbes]int
	last     uint32 // the last probe of the size in use, which must be echoed
	waiting  bool   // for that echo
	rtt, min time.Duration
}

// begin has a new session probed at once.
func (h *health) begin(now time.Time) {
	h.next, h.waiting = now, false
	if h.number == 0 {
		h.number = rand.Uint32() // so that echoes of an earlier life are not taken
	}
}

// probe makes a probe at a time of a size, 0 for the least. One that must come
// back is of the size in use.
func (h *health) probe(at time.Duration, size int, must bool) record {
	h.number++
	h.sizes[h.number%recentProbes] = size
	if must {
		h.last, h.waiting = h.number, true
	}
	return record{kind: recordProbe, number: h.number, time: int64(at)}
}

// unanswered reports whether the last probe of the size in use was lost.
func (h *health) unanswered() bool { return h.waiting }

// echoed takes an echo and reports whether it is that of a probe.
func (h *health) echoed(r record, now, epoch time.Time) bool {
	if h.number-r.number >= recentProbes {
		return false
	}
	if size := h.sizes[r.number%recentProbes]; size != 0 && size != r.size {
		return false // so much was not sent
	}
	if r.number == h.last {
		h.waiting = false
	}
	took := now.Sub(epoch) - time.Duration(r.time)
	if took < 0 || took > deadAfter {
		return true
	}
	if h.rtt == 0 {
		h.rtt, h.min = took, took
	}
	h.rtt += (took - h.rtt) / rttShare
	h.min = min(h.min, took)
	return true
}
