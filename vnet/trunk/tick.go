package trunk

import (
	"context"
	"time"

	"ore/vnet/trunk/datagram"
	"ore/vnet/trunk/seal"
)

// tick does what is due and returns when to be called again at the latest.
func (l *link) tick(now time.Time) time.Time {
	due := dueBy{now.Add(deadAfter)}
	var out []outgoing
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return due.at
	}
	s := l.current.Load()
	if s != nil && (s.path.Load().Ended() || now.Sub(l.lastHeard()) > deadAfter) {
		l.fall(now)
		s = nil
	}
	if s != nil {
		out = l.maintain(s, now, &due)
	}
	if l.first {
		out = append(out, l.greet(s, now, &due)...)
	}
	l.mu.Unlock()
	for _, o := range out {
		l.transmit(o)
	}
	l.receiving.Lock()
	l.pieces.expire(now)
	l.receiving.Unlock()
	return due.at
}

// dueBy is the earliest of several times.
type dueBy struct{ at time.Time }

func (d *dueBy) by(t time.Time) {
	if t.Before(d.at) {
		d.at = t
	}
}

func (l *link) lastHeard() time.Time { return l.epoch.Add(time.Duration(l.heard.Load())) }

// maintain probes a link that is up. It is called with mu held.
func (l *link) maintain(s *session, now time.Time, due *dueBy) (out []outgoing) {
	w := s.path.Load()
	probe := func(size int, must bool) {
		out = append(out, outgoing{path: w, keys: s, size: size, record: l.health.probe(now.Sub(l.epoch), size, must)})
	}
	measured := w == l.udp
	if !now.Before(l.health.next) {
		if measured && l.health.unanswered() && l.sizes.lost() {
			l.sizes.begin(w.Ceiling(), now)
		}
		size := 0
		if measured {
			size = l.sizes.now
		}
		probe(size, true)
		l.health.next = now.Add(probeEvery)
	}
	if measured {
		if !now.Before(l.sizes.again) {
			l.sizes.begin(w.Ceiling(), now)
		}
		size, at := l.sizes.want(now)
		if size > 0 {
			probe(size, false)
		}
		w.SetSize(l.sizes.now)
		due.by(at)
	}
	due.by(l.health.next)
	return out
}

// greet says hello where new keys or another way are wanted. It is called with
// mu held, on the side that greets.
func (l *link) greet(s *session, now time.Time, due *dueBy) (out []outgoing) {
	g := &l.greets
	better := s != nil && s.path.Load() != l.udp && l.udp != nil && !now.Before(g.udpNext)
	if s != nil && !s.Old(now) && !better {
		due.by(now.Add(seal.RekeyAfter))
		if l.udp != nil && s.path.Load() != l.udp {
			due.by(g.udpNext)
		}
		return nil
	}
	if now.Before(g.next) {
		due.by(g.next)
		return nil
	}
	if l.greeting == nil || now.Sub(l.greeted) > helloLife {
		next, err := l.secrets.Greet(l.newIndex(), l.clock())
		if err != nil {
			due.by(now.Add(helloMost))
			return nil
		}
		l.greeting, l.greeted = next, now
	}
	for _, w := range l.ways(s, better, now) {
		out = append(out, outgoing{path: w, bytes: l.greeting.Message})
	}
	g.wait = min(max(2*g.wait, helloFirst), helloMost)
	g.next = now.Add(g.wait)
	if better {
		if g.udpLeft == 0 {
			g.udpLeft = udpTries
		}
		if g.udpLeft--; g.udpLeft == 0 {
			g.udpWait = min(2*g.udpWait, udpMost)
			g.udpNext, g.wait = now.Add(g.udpWait), 0
		}
	}
	due.by(g.next)
	return out
}

// ways returns the paths on which to greet.
func (l *link) ways(s *session, better bool, now time.Time) (out []*datagram.Path) {
	if better {
		out = append(out, l.udp)
	}
	if s != nil {
		if !better || s.Old(now) {
			out = append(out, s.path.Load())
		}
		return out
	}
	if l.udp != nil {
		out = append(out, l.udp)
	}
	if l.udp == nil || now.Sub(l.greets.since) >= udpPatience {
		if l.tcp != nil && !l.tcp.Ended() {
			out = append(out, l.tcp)
		} else {
			l.connect()
		}
	}
	return out
}

// connect opens a TCP connection in the background. It is called with mu held.
func (l *link) connect() {
	if l.dialing || l.dial == nil || l.closed {
		return
	}
	l.dialing = true
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, dialTime)
		defer cancel()
		w, err := l.dial(ctx)
		l.mu.Lock()
		l.dialing = false
		if err == nil {
			l.adopt(w)
			l.greets.next = time.Time{} // it is used at once
		}
		l.mu.Unlock()
		if err == nil {
			l.kick()
		}
	})
}

// adopt makes w the link's TCP connection; one that it had ends. It is called
// with mu held.
func (l *link) adopt(w *datagram.Path) {
	if l.tcp != nil {
		l.tcp.Close()
	}
	l.tcp = w
	if l.closed {
		w.Close()
		return
	}
	l.running.Go(func() { l.read(w) })
}
