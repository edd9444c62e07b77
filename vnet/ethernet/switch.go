package ethernet

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
)

// Outlet is what stands behind a port and gets the frames sent to it.
//
// Deliver takes over one reference to f. It must not block: it may be called
// by the reader of any other port, and by several at once. What cannot be
// taken is released, and Deliver then reports false.
type Outlet interface {
	Deliver(f *Frame) bool
}

// Switch connects ports. All methods may be called by several goroutines.
type Switch struct {
	pool  *Pool
	table atomic.Pointer[table] // never nil; replaced, never changed

	mu     sync.Mutex // guards replacing the table, and closed
	closed bool
}

// table is who is plugged in.
type table struct {
	byMAC  map[MAC]*Port // also those behind trunks
	byIP   map[IPv4]*Port
	trunks []*Trunk
}

// NewSwitch returns a switch for IP packets of up to mtu bytes.
func NewSwitch(mtu int) *Switch {
	s := &Switch{pool: newPool(mtu + Slack)}
	s.table.Store(&table{})
	return s
}

// Pool returns where the switch's frames come from.
func (s *Switch) Pool() *Pool { return s.pool }

// Errors of plugging in.
var (
	ErrClosed = errors.New("switch is closed")
	ErrTaken  = errors.New("address is taken")
)

// Plug adds a port in front of out.
func (s *Switch) Plug(id Identity, out Outlet) (*Port, error) {
	p := newPort(s, id, out)
	if err := s.change(func(t *table) error { return t.add(p) }); err != nil {
		return nil, fmt.Errorf("plug %v: %w", id.MAC, err)
	}
	return p, nil
}

// change replaces the table by one that f has changed, unless f or the switch
// refuses.
func (s *Switch) change(f func(t *table) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	t := s.table.Load().clone()
	if err := f(t); err != nil {
		return err
	}
	s.table.Store(t)
	return nil
}

// take is change for what takes something out, which a closed switch allows.
func (s *Switch) take(f func(t *table)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load().clone()
	f(t)
	s.table.Store(t)
}

func (t *table) clone() *table {
	c := &table{byMAC: maps.Clone(t.byMAC), byIP: maps.Clone(t.byIP), trunks: t.trunks}
	if c.byMAC == nil {
		c.byMAC, c.byIP = map[MAC]*Port{}, map[IPv4]*Port{}
	}
	return c
}

func (t *table) add(p *Port) error {
	if t.byMAC[p.id.MAC] != nil || t.byIP[p.id.IP] != nil {
		return ErrTaken
	}
	t.byMAC[p.id.MAC], t.byIP[p.id.IP] = p, p
	return nil
}

func (t *table) remove(p *Port) {
	if t.byMAC[p.id.MAC] == p {
		delete(t.byMAC, p.id.MAC)
		delete(t.byIP, p.id.IP)
	}
}

// Close unplugs every port and waits for what they had running.
func (s *Switch) Close() {
	s.mu.Lock()
	s.closed = true
	t := s.table.Load()
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range t.byMAC {
		if p.trunk == nil {
			wg.Go(p.Unplug)
		}
	}
	for _, k := range t.trunks {
		wg.Go(k.Unplug)
	}
	wg.Wait()
}

// forward sends a checked frame from p where it belongs.
func (s *Switch) forward(p *Port, f *Frame) {
	b := f.Bytes()
	t := s.table.Load()
	dst := MAC(b[ethDst:ethSrc])
	to := t.byMAC[dst]
	if dst.Group() {
		ip, asks := arpTarget(b, p.id)
		if !asks {
			s.broadcast(t, p, f)
			return
		}
		to = t.byIP[ip]
	}
	if to == nil || to == p || p.apart(to) {
		p.drop(f, Unknown)
		return
	}
	to.output(f)
}

// broadcast sends f to all ports but its own, and through each trunk once.
func (s *Switch) broadcast(t *table, p *Port, f *Frame) {
	if !p.flood.take() {
		p.drop(f, Storm)
		return
	}
	for _, to := range t.byMAC {
		if to != p && to.trunk == nil && !p.apart(to) {
			f.Retain(1)
			to.output(f)
		}
	}
	if p.trunk == nil && !p.id.Router {
		for _, k := range t.trunks {
			f.Retain(1)
			k.outlet.Deliver(f) // what it cannot take, it counts
		}
	}
	f.Release()
}
