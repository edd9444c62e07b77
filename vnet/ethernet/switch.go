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
	byMAC map[MAC]*Port
	byIP  map[IPv4]*Port
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("plug %v: %w", id.MAC, ErrClosed)
	}
	t := s.table.Load()
	if t.byMAC[id.MAC] != nil || t.byIP[id.IP] != nil {
		return nil, fmt.Errorf("plug %v: %w", id.MAC, ErrTaken)
	}
	p := &Port{sw: s, id: id, outlet: out}
	p.flood.fill()
	t = t.clone()
	t.byMAC[id.MAC], t.byIP[id.IP] = p, p
	s.table.Store(t)
	return p, nil
}

func (t *table) clone() *table {
	c := &table{byMAC: maps.Clone(t.byMAC), byIP: maps.Clone(t.byIP)}
	if c.byMAC == nil {
		c.byMAC, c.byIP = map[MAC]*Port{}, map[IPv4]*Port{}
	}
	return c
}

// remove takes p out of the table.
func (s *Switch) remove(p *Port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	if t.byMAC[p.id.MAC] != p {
		return
	}
	t = t.clone()
	delete(t.byMAC, p.id.MAC)
	delete(t.byIP, p.id.IP)
	s.table.Store(t)
}

// Close unplugs every port and waits for what they had running.
func (s *Switch) Close() {
	s.mu.Lock()
	s.closed = true
	t := s.table.Load()
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range t.byMAC {
		wg.Go(p.Unplug)
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
	if to == nil || to == p {
		p.drop(f, Unknown)
		return
	}
	to.output(f)
}

// broadcast sends f to all ports but its own.
func (s *Switch) broadcast(t *table, p *Port, f *Frame) {
	if !p.flood.take() {
		p.drop(f, Storm)
		return
	}
	for _, to := range t.byMAC {
		if to != p {
			f.Retain(1)
			to.output(f)
		}
	}
	f.Release()
}
