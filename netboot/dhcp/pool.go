package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"time"

	"ore/netboot/keep"
	"ore/netboot/link"
)

const (
	// maxRange bounds the memory that leases take: a /16.
	maxRange = 1 << 16
	// offerTime is how long an offered address is held for a client that has
	// not asked for it yet: clients collect offers for some seconds.
	offerTime = 30 * time.Second
	// declineTime is how long an address rests that a client found in use.
	declineTime = 10 * time.Minute
)

// errFull is a range of which every address is taken.
var errFull = errors.New("every address of the range is taken")

// Range is the addresses that are given out, from the first to the last. The
// zero value is none: the server is a proxy.
type Range struct{ First, Last netip.Addr }

// ParseRange reads "10.0.0.50-10.0.0.99".
func ParseRange(s string) (Range, error) {
	var first, last string
	for i := range s {
		if s[i] == '-' {
			first, last = s[:i], s[i+1:]
			break
		}
	}
	a, err := netip.ParseAddr(first)
	b, err2 := netip.ParseAddr(last)
	if err != nil || err2 != nil || !a.Is4() || !b.Is4() {
		return Range{}, fmt.Errorf("range %.60q: not two IPv4 addresses: write it like 10.0.0.50-10.0.0.99", s)
	}
	return Range{a, b}, nil
}

// size returns how many addresses there are.
func (r Range) size() int64 { return int64(number(r.Last)) - int64(number(r.First)) + 1 }

// check says what is wrong with a range on an interface.
func (r Range) check(i link.Interface) error {
	switch {
	case !i.Net.Contains(r.First) || !i.Net.Contains(r.Last):
		return fmt.Errorf("range %s-%s: is not within the network of %s: use addresses of %s, or another interface", r.First, r.Last, i.Name, i.Net.Masked())
	case r.size() < 1:
		return fmt.Errorf("range %s-%s: ends before it begins: use %s-%s", r.First, r.Last, r.Last, r.First)
	case r.size() > maxRange:
		return fmt.Errorf("range %s-%s: more than %d addresses: give a smaller one", r.First, r.Last, maxRange)
	}
	return nil
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func (r Range) at(i int64) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(int64(number(r.First))+i))
	return netip.AddrFrom4(b)
}

// lease is an address and who has it.
type lease struct {
	Address  netip.Addr `json:"address"`
	MAC      link.MAC   `json:"mac"` // zero: a client found it in use by another
	Until    time.Time  `json:"until"`
	promised bool       // bound, and not merely offered
}

// pool is the addresses of a range. One goroutine uses it.
type pool struct {
	path   string
	all    Range
	never  map[netip.Addr]bool
	byAddr map[netip.Addr]*lease
	byMAC  map[link.MAC]*lease
}

// kept is the form of the file.
type kept struct {
	Leases []lease `json:"leases"`
}

// openPool reads the leases at path.
func openPool(path string, r Range, never ...netip.Addr) (*pool, error) {
	p := &pool{path: path, all: r, never: map[netip.Addr]bool{}, byAddr: map[netip.Addr]*lease{}, byMAC: map[link.MAC]*lease{}}
	for _, a := range never {
		p.never[a] = true
	}
	var k kept
	if err := errors.Join(keep.Sweep(path), keep.Load(path, &k)); err != nil {
		return nil, err
	}
	for _, l := range k.Leases {
		if p.gives(l.Address) && p.byAddr[l.Address] == nil && p.byMAC[l.MAC] == nil {
			l.promised = true
			p.put(&l)
		}
	}
	return p, nil
}

// gives says whether an address is one of the range's that clients may have.
func (p *pool) gives(a netip.Addr) bool {
	return a.Is4() && !a.Less(p.all.First) && !p.all.Last.Less(a) && !p.never[a]
}

func (p *pool) put(l *lease) {
	p.byAddr[l.Address] = l
	if l.MAC != (link.MAC{}) {
		p.byMAC[l.MAC] = l
	}
}

func (p *pool) drop(l *lease) {
	delete(p.byAddr, l.Address)
	if p.byMAC[l.MAC] == l {
		delete(p.byMAC, l.MAC)
	}
}

// of returns the address that a card has, bound or offered.
func (p *pool) of(m link.MAC) netip.Addr {
	if l := p.byMAC[m]; l != nil {
		return l.Address
	}
	return netip.Addr{}
}

// offer finds an address for a card: the one that it has or had, else the one
// that it wishes, else one that its hardware address leads to.
func (p *pool) offer(m link.MAC, wish netip.Addr, now time.Time) (netip.Addr, error) {
	if l := p.byMAC[m]; l != nil {
		if l.Until.Before(now.Add(offerTime)) {
			l.Until = now.Add(offerTime)
		}
		return l.Address, nil
	}
	if !p.free(wish, now) {
		wish = netip.Addr{}
		h := fnv.New64a()
		h.Write(m[:])
		n := p.all.size()
		start := int64(h.Sum64() % uint64(n))
		for i := range n {
			if a := p.all.at((start + i) % n); p.free(a, now) {
				wish = a
				break
			}
		}
	}
	if !wish.IsValid() {
		return wish, errFull
	}
	if old := p.byAddr[wish]; old != nil {
		p.drop(old)
	}
	p.put(&lease{Address: wish, MAC: m, Until: now.Add(offerTime)})
	return wish, nil
}

// free says whether an address can be given to a card that has none.
func (p *pool) free(a netip.Addr, now time.Time) bool {
	if !p.gives(a) {
		return false
	}
	l := p.byAddr[a]
	return l == nil || l.Until.Before(now)
}

// bind promises the address that a card has for a time. When it returns, the
// promise is on the disk.
func (p *pool) bind(m link.MAC, now time.Time, term time.Duration) error {
	l := p.byMAC[m]
	if l == nil {
		return fmt.Errorf("lease of %s: there is none", m)
	}
	if l.promised && !l.Until.Before(now.Add(term)) {
		return nil
	}
	l.promised, l.Until = true, now.Add(2*term)
	return p.store()
}

// release ends a card's lease; the address stays the card's while nobody else
// needs it.
func (p *pool) release(m link.MAC, a netip.Addr, now time.Time) error {
	l := p.byMAC[m]
	if l == nil || l.Address != a {
		return nil
	}
	l.Until = now
	return p.store()
}

// decline lets an address rest which a card says that another one uses. Only
// the card that it was given to is believed.
func (p *pool) decline(m link.MAC, a netip.Addr, now time.Time) (bool, error) {
	l := p.byMAC[m]
	if l == nil || l.Address != a {
		return false, nil
	}
	p.drop(l)
	p.put(&lease{Address: a, Until: now.Add(declineTime), promised: true})
	return true, p.store()
}

// forget takes back an offer to a client that chose another server.
func (p *pool) forget(m link.MAC) {
	if l := p.byMAC[m]; l != nil && !l.promised {
		p.drop(l)
	}
}

// store brings all promises to the disk.
func (p *pool) store() error {
	var k kept
	for _, l := range p.byAddr {
		if l.promised {
			k.Leases = append(k.Leases, *l)
		}
	}
	slices.SortFunc(k.Leases, func(a, b lease) int { return a.Address.Compare(b.Address) })
	return keep.Store(p.path, k)
}
