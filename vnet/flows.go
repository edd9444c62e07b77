package vnet

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Limits of what one machine may have open through the gateway. Each TCP
// connection and UDP exchange is a file descriptor of this process, each half
// open connection a goroutine with a dial under way.
const (
	maxTCP      = 1024
	maxHalfOpen = 128
	maxUDP      = 512
	maxQueries  = 64 // DNS questions being forwarded
)

// kind is a sort of flow.
type kind int

const (
	tcpFlow kind = iota
	halfOpenFlow
	udpFlow
	queryFlow
	kinds
)

// limit returns how many flows of a kind a machine may have.
func (k kind) limit() int {
	return [kinds]int{maxTCP, maxHalfOpen, maxUDP, maxQueries}[k]
}

// flows counts what machines have open.
type flows struct {
	total   [kinds]atomic.Uint64 // since the beginning
	over    atomic.Uint64        // refused by a limit
	refused atomic.Uint64        // refused by the policy
	failed  atomic.Uint64        // dialled in vain

	mu   sync.Mutex // guards the rest
	open map[netip.Addr]*[kinds]int
}

// begin counts one more flow of a machine, unless it has as many as it may.
func (f *flows) begin(machine netip.Addr, k kind) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open == nil {
		f.open = map[netip.Addr]*[kinds]int{}
	}
	o := f.open[machine]
	if o == nil {
		o = new([kinds]int)
		f.open[machine] = o
	}
	if o[k] >= k.limit() {
		f.over.Add(1)
		return false
	}
	o[k]++
	f.total[k].Add(1)
	return true
}

// end counts one less.
func (f *flows) end(machine netip.Addr, k kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.open[machine]
	o[k]--
	if *o == ([kinds]int{}) {
		delete(f.open, machine)
	}
}

// now returns how many flows of a kind are open.
func (f *flows) now(k kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := 0
	for _, o := range f.open {
		sum += o[k]
	}
	return sum
}
