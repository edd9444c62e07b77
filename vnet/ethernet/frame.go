package ethernet

import (
	"sync"
	"sync/atomic"
)

// Sizes of Ethernet II (IEEE 802.3-2018, 3.1.1), without preamble and check
// sequence, which no virtual network card carries.
const (
	// HeaderSize is the size of the two addresses and the type.
	HeaderSize = 14
	// Slack is by how much a frame may exceed the MTU: the header and room for
	// one VLAN tag, which some drivers reserve.
	Slack = HeaderSize + 4
)

// Buffers come in three sizes, so that a queue of small frames (most TCP
// acknowledgements are 54 to 78 bytes) does not hold MTU-sized memory.
const (
	smallBuffer  = 256
	mediumBuffer = 2048
)

// Frame is one Ethernet frame in a pooled buffer. Whoever is given a frame owns
// one reference to it and must pass it on or call Release. The bytes must not
// be changed once the frame has been given away.
type Frame struct {
	n     int
	buf   []byte
	refs  atomic.Int32
	class *sync.Pool
}

// Bytes returns the frame, from the destination address on.
func (f *Frame) Bytes() []byte { return f.buf[:f.n] }

// Retain adds n references.
func (f *Frame) Retain(n int) { f.refs.Add(int32(n)) }

// Release gives one reference back. The last one returns the buffer to its pool.
func (f *Frame) Release() {
	switch r := f.refs.Add(-1); {
	case r == 0:
		f.class.Put(f)
	case r < 0:
		panic("ethernet: a frame was released twice")
	}
}

// Pool hands out frames of a switch.
type Pool struct {
	classes [3]sync.Pool
	sizes   [3]int
}

// newPool returns a pool for frames of up to max bytes.
func newPool(max int) *Pool {
	p := &Pool{sizes: [3]int{smallBuffer, min(mediumBuffer, max), max}}
	for i := range p.classes {
		class := &p.classes[i]
		size := p.sizes[i]
		class.New = func() any { return &Frame{buf: make([]byte, size), class: class} }
	}
	return p
}

// Max returns the size of the largest frame.
func (p *Pool) Max() int { return p.sizes[len(p.sizes)-1] }

// Get returns a frame of n bytes with one reference, its bytes unspecified.
// n must not exceed Max.
func (p *Pool) Get(n int) *Frame {
	c := len(p.classes) - 1
	for i, size := range p.sizes {
		if n <= size {
			c = i
			break
		}
	}
	f := p.classes[c].Get().(*Frame)
	f.n = n
	f.refs.Store(1)
	return f
}

// full returns a frame with room for any frame of the switch.
func (p *Pool) full() *Frame {
	f := p.classes[len(p.classes)-1].Get().(*Frame)
	f.n = len(f.buf)
	f.refs.Store(1)
	return f
}
