package ethernet

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Trunk joins the switch with that of another host: behind its one [Outlet] are
// several machines, each with a port of its own, so that what comes from there
// is checked as strictly as what comes from a machine here. The rules of the
// house hold, and these:
//
//   - Which machines are behind a trunk is told ([Trunk.Set]), never learned. A
//     frame from any other MAC is dropped as spoofed.
//   - A frame goes from a trunk to machines here, never to another trunk: each
//     host has one to every other, so that nothing can go round.
//   - Gateways are each host's own: nothing goes from a trunk to a router, or
//     from a router to a trunk.
//   - What is broadcast goes through each trunk once.
type Trunk struct {
	sw     *Switch
	outlet Outlet
	ports  atomic.Pointer[map[MAC]*Port] // never nil; replaced, never changed
	mu     sync.Mutex                    // guards replacing ports, and gone
	gone   bool

	spoofed, runts atomic.Uint64 // frames in the name of nobody that is behind the trunk
}

// PlugTrunk adds a trunk in front of out, with nobody behind it. Deliver is
// given frames for all machines that will be.
func (s *Switch) PlugTrunk(out Outlet) (*Trunk, error) {
	t := &Trunk{sw: s, outlet: out}
	t.ports.Store(&map[MAC]*Port{})
	err := s.change(func(next *table) error {
		next.trunks = append(slices.Clone(next.trunks), t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("plug trunk: %w", err)
	}
	return t, nil
}

// Set says who is behind the trunk from now on. It changes all or nothing: it
// fails when an address is in use elsewhere in the switch. Who was there and
// still is keeps its port, with what it counted.
func (t *Trunk) Set(ids []Identity) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone {
		return fmt.Errorf("machines of a trunk: %w", ErrClosed)
	}
	old := *t.ports.Load()
	ports := make(map[MAC]*Port, len(ids))
	err := t.sw.change(func(next *table) error {
		for _, p := range old {
			next.remove(p)
		}
		for _, id := range ids {
			p := old[id.MAC]
			if p == nil || p.id != id {
				p = newPort(t.sw, id, t.outlet)
				p.trunk = t
			}
			if err := next.add(p); err != nil {
				return err
			}
			ports[id.MAC] = p
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("machines of a trunk: %w", err)
	}
	t.ports.Store(&ports)
	for mac, p := range old {
		if ports[mac] != p {
			p.stop()
		}
	}
	return nil
}

// Input takes a frame that came through the trunk. It takes over one reference
// and does not block.
func (t *Trunk) Input(f *Frame) {
	b := f.Bytes()
	if len(b) < HeaderSize {
		t.runts.Add(1)
		f.Release()
		return
	}
	p := (*t.ports.Load())[MAC(b[ethSrc:ethType])]
	if p == nil {
		t.spoofed.Add(1)
		f.Release()
		return
	}
	p.Input(f)
}

// Unplug takes the trunk and all behind it out of the switch, closes the outlet
// where that is an io.Closer, and waits for all that ran for its ports.
func (t *Trunk) Unplug() {
	t.mu.Lock()
	t.gone = true
	ports := *t.ports.Load()
	t.mu.Unlock()
	t.sw.take(func(next *table) {
		for _, p := range ports {
			next.remove(p)
		}
		next.trunks = slices.DeleteFunc(slices.Clone(next.trunks), func(o *Trunk) bool { return o == t })
	})
	if c, ok := t.outlet.(io.Closer); ok {
		c.Close() // closing tells what runs to end; there is no more to know
	}
	for _, p := range ports {
		p.stop()
	}
}

// Stats returns the sum of what the ports of those that are behind the trunk
// counted. Spoofed and runt are also frames that had no port.
func (t *Trunk) Stats() Stats {
	sum := Stats{Dropped: map[string]uint64{}}
	for _, p := range *t.ports.Load() {
		s := p.Stats()
		sum.ReceivedFrames += s.ReceivedFrames
		sum.ReceivedBytes += s.ReceivedBytes
		sum.SentFrames += s.SentFrames
		sum.SentBytes += s.SentBytes
		for why, n := range s.Dropped {
			sum.Dropped[why] += n
		}
	}
	for v, n := range map[Verdict]uint64{Spoofed: t.spoofed.Load(), Runt: t.runts.Load()} {
		if n > 0 {
			sum.Dropped[v.String()] += n
		}
	}
	return sum
}
