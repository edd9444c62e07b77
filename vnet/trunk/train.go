package trunk

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ore/vnet/trunk/datagram"
)

// A train is datagrams sent back to back; how far apart they arrive tells the
// rate of the slowest part of the way (packet dispersion). Its first half is not
// counted: shapers let a burst pass at full speed.
const (
	firstTrain = 32      // datagrams
	mostTrain  = 4 << 20 // bytes
	// trainTime is how long the second half must take for the clock's and the
	// kernel's batches not to matter.
	trainTime = 50 * time.Millisecond
	// askEvery is how often the other side is asked for what came of a train,
	// and askTries how often.
	askEvery = 300 * time.Millisecond
	askTries = 20
)

// train is both ends of a measurement.
type train struct {
	id     uint16 // of what comes from the other side
	any    bool
	mark   time.Time // when the second half began
	last   time.Time
	bytes  uint32 // that came after mark
	wanted uint16 // of what we have sent
	answer chan record
}

// came notes a datagram of the other side's train.
func (t *train) came(r record, size int, now time.Time) {
	if !t.any || t.id != r.id {
		t.any, t.id, t.mark, t.last, t.bytes = true, r.id, time.Time{}, time.Time{}, 0
	}
	switch {
	case !t.mark.IsZero() && now.After(t.mark):
		t.bytes += uint32(size)
		t.last = now
	case t.mark.IsZero() && r.index >= r.count/2:
		t.mark, t.last = now, now
	}
}

// tell returns what came of a train.
func (t *train) tell(id uint16) (record, bool) {
	if !t.any || t.id != id {
		return record{}, false
	}
	return record{kind: recordTell, id: id, bytes: t.bytes, micros: uint32(t.last.Sub(t.mark).Microseconds())}, true
}

// told takes the other side's answer.
func (t *train) told(r record) {
	if t.answer != nil && r.id == t.wanted {
		select {
		case t.answer <- r:
		default: // it was asked twice
		}
	}
}

// errDown is for what needs a link that is up.
var errDown = errors.New("the link is down")

// measure sends trains, each twice as long, until one is long enough to tell the
// link's rate, which it notes.
func (l *link) measure(ctx context.Context) error {
	l.measuring.Lock()
	defer l.measuring.Unlock()
	for n := firstTrain; ; n *= 2 {
		s := l.current.Load()
		if s == nil {
			return errDown
		}
		w := s.path.Load()
		size := w.Size()
		n = min(n, mostTrain/size, 1<<16-1)
		r, err := l.probeRate(ctx, s, n)
		if err != nil {
			return err
		}
		took := time.Duration(r.micros) * time.Microsecond
		longest := n >= min(mostTrain/size, 1<<16-1)
		if took < trainTime && !longest {
			continue
		}
		if took <= 0 || r.bytes == 0 {
			return errors.New("nothing came through")
		}
		datagrams := float64(r.bytes) / float64(size)
		l.mu.Lock()
		l.rate, l.measured = (float64(r.bytes)+datagrams*float64(w.Headers))/took.Seconds(), time.Now()
		l.mu.Unlock()
		return nil
	}
}

// probeRate sends one train and returns what the other side says of it.
func (l *link) probeRate(ctx context.Context, s *session, count int) (record, error) {
	l.mu.Lock()
	l.train.wanted++
	l.train.answer = make(chan record, 1)
	id, answer := l.train.wanted, l.train.answer
	l.mu.Unlock()
	w := s.path.Load()
	size := w.Size()
	buf := make([]byte, 0, datagram.MostSize)
	for i := range count {
		if ctx.Err() != nil {
			return record{}, context.Cause(ctx)
		}
		o := outgoing{keys: s, size: size, record: record{kind: recordTrain, id: id, index: i, count: count}}
		buf = append(buf, o.seal()...)
		if i+1 == count || len(buf)+size > datagram.MostSize || len(buf) >= datagram.Segments*size {
			if err := w.Send(buf, size); err != nil {
				return record{}, fmt.Errorf("send: %w", err)
			}
			buf = buf[:0]
		}
	}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for range askTries {
		l.transmit(outgoing{path: w, keys: s, record: record{kind: recordAsk, id: id}})
		select {
		case r := <-answer:
			return r, nil
		case <-tick.C:
		case <-ctx.Done():
			return record{}, context.Cause(ctx)
		case <-l.ctx.Done():
			return record{}, errDown
		}
	}
	return record{}, errors.New("no answer")
}
