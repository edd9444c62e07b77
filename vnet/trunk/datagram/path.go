// Package datagram carries datagrams between two hosts: over UDP, with as few
// system calls as the kernel allows, or over a TCP connection where UDP does not
// come through. It knows nothing of what is in them.
//
// A UDP [Path] has a socket of its own, connected to the other host, on a port
// that all paths of a mesh share (SO_REUSEPORT): so each has its own buffers in
// the kernel, and nobody can fill another's. It has the kernel cut (UDP GSO) and
// join (UDP GRO, udp(7)) datagrams where it can, and uses sendmmsg(2) and
// recvmmsg(2) else. Datagrams are never fragmented, and sizes that ICMP tells
// are not believed.
//
// On TCP each datagram follows its size, in 16 bits.
package datagram

import (
	"errors"
	"sync/atomic"
	"time"
)

// Kinds of paths.
const (
	UDP = "udp"
	TCP = "tcp"
)

// Sizes of datagrams.
const (
	// BaseSize is what is sent before more is known to pass (RFC 8899, 5.1.2:
	// BASE_PLPMTU): it fits a path with IPv6's least MTU of 1,280 bytes.
	BaseSize = 1232
	// MostSize is the largest datagram, and the most that is given to the kernel
	// at once: an IPv4 packet's worth.
	MostSize = 65535 - Headers4
	// Segments is into how many datagrams the kernel cuts what it is given
	// (UDP_MAX_SEGMENTS of Linux before 6.2).
	Segments = 64
	// Headers4 and Headers6 are the sizes of IPv4's and UDP's headers, and of
	// IPv6's and UDP's.
	Headers4 = 28
	Headers6 = 48
)

// errMalformed is for a stream that holds no datagrams.
var errMalformed = errors.New("malformed stream")

// Path is one way to the other host.
type Path struct {
	// Kind is UDP or TCP.
	Kind string
	// Headers is what IP and UDP add to each datagram; 0 for TCP.
	Headers int
	// Send sends the datagrams of which b is made: each of the given size, the
	// last one may be shorter. It may be called by several goroutines, and may
	// wait until the kernel has room, but not for the other host for long.
	Send func(b []byte, size int) error
	// Read gives take each datagram that comes, in memory that is used again,
	// until the path is closed or has ended.
	Read func(take func(b []byte, now time.Time))
	// Ceiling is the size of the largest datagram that the interface takes.
	Ceiling func() int

	size  atomic.Int64
	ended atomic.Bool
	end   func() error
}

// NewPath returns a path of a kind without its functions, which the caller sets.
// Close calls end once.
func NewPath(kind string, headers int, end func() error) *Path {
	return &Path{Kind: kind, Headers: headers, end: end}
}

// Size returns that of the largest datagram that is to be sent.
func (p *Path) Size() int { return int(p.size.Load()) }

// SetSize says what was found to pass.
func (p *Path) SetSize(n int) { p.size.Store(int64(n)) }

// Ended reports whether nothing comes or goes any more.
func (p *Path) Ended() bool { return p.ended.Load() }

// Close ends Send and Read. It may be called more than once.
func (p *Path) Close() {
	if !p.ended.Swap(true) {
		_ = p.end() // what was under way may be lost, as datagrams may
	}
}
