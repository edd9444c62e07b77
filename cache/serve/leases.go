package serve

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"ore"
	"ore/cache/serve/wire"
)

// leases says who builds what. It is kept in memory alone: after a restart the
// builders ask again and go on.
type leases struct {
	now func() time.Time

	mu  sync.Mutex
	all map[leaseKey]*lease // guarded by mu
}

// leaseKey keeps namespaces apart.
type leaseKey struct {
	namespace string
	key       ore.Key
}

// lease is one build. Its fields are guarded by leases.mu.
type lease struct {
	id       string
	expires  time.Time
	event    ore.Event
	watchers map[chan ore.Event]bool
	over     chan struct{} // closed when the lease is
}

var (
	errManyLeases = errors.New("too many builds are waited for: try again later")
	errNoLease    = errors.New("there is no such lease: it expired, or the server was started again: ask for a new one")
)

func newLeases(now func() time.Time) *leases {
	return &leases{now: now, all: map[leaseKey]*lease{}}
}

func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// take gives a new lease if nobody has one; otherwise it returns what the
// builder said last, and what ends when its lease does.
func (l *leases) take(k leaseKey) (id string, event ore.Event, over <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.all[k]; x != nil {
		if l.now().Before(x.expires) {
			return "", x.event, x.over, nil
		}
		l.end(k)
	}
	if len(l.all) >= maxLeases {
		return "", event, nil, errManyLeases
	}
	x := &lease{id: newID(), expires: l.now().Add(wire.Expiry), watchers: map[chan ore.Event]bool{}, over: make(chan struct{})}
	l.all[k] = x
	return x.id, event, nil, nil
}

// beat makes a lease last, and tells those who watch what happened.
func (l *leases) beat(k leaseKey, id string, e *ore.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[k]
	if x == nil || x.id != id {
		return errNoLease
	}
	x.expires = l.now().Add(wire.Expiry)
	if e == nil {
		return nil
	}
	x.event = *e
	for w := range x.watchers {
		select {
		case w <- *e:
		default: // who does not keep up misses some: events are for people
		}
	}
	return nil
}

// over returns what ends with the lease.
func (l *leases) over(k leaseKey, id string) (<-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[k]
	if x == nil || x.id != id {
		return nil, errNoLease
	}
	return x.over, nil
}

// release ends a lease whose id is given, or any of the key if id is "".
func (l *leases) release(k leaseKey, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.all[k]
	if x == nil || id != "" && x.id != id {
		return errNoLease
	}
	l.end(k)
	return nil
}

// end removes a lease; mu is held.
func (l *leases) end(k leaseKey) {
	close(l.all[k].over)
	delete(l.all, k)
}

// sweep ends leases whose builder is gone.
func (l *leases) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, x := range l.all {
		if !l.now().Before(x.expires) {
			l.end(k)
		}
	}
}

func (l *leases) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// watch calls tell with the events of a build until it is over.
func (l *leases) watch(ctx context.Context, k leaseKey, tell func(ore.Event) error) error {
	l.mu.Lock()
	x := l.all[k]
	if x == nil || len(x.watchers) >= maxWatchers {
		l.mu.Unlock()
		return errNoLease
	}
	events := make(chan ore.Event, 16)
	x.watchers[events] = true
	last, over := x.event, x.over
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(x.watchers, events)
		l.mu.Unlock()
	}()
	if err := tell(last); err != nil {
		return err
	}
	for {
		select {
		case e := <-events:
			if err := tell(e); err != nil {
				return err
			}
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// wait waits until the lease behind over ends, or it expires, or the time is up.
func (l *leases) wait(ctx context.Context, k leaseKey, over <-chan struct{}, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	tick := time.NewTicker(wire.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			l.mu.Lock()
			if x := l.all[k]; x != nil && !l.now().Before(x.expires) {
				l.end(k)
			}
			l.mu.Unlock()
		}
	}
}
