package trunk

import (
	"sync/atomic"
	"time"
)

// Ways to the other host, as statistics name them.
const (
	wayUDP = "udp"
	wayTCP = "tcp"
)

// path is one way to the other host. Both kinds carry datagrams.
type path struct {
	way  string
	size atomic.Int64 // of the largest datagram to be sent
	// send sends the datagrams of which b is made: each of the given size, the
	// last one may be shorter. It may be called by several goroutines, and may
	// wait until the kernel has room, but not for the other host for long.
	send func(b []byte, size int) error
	// read gives take each datagram that comes, in memory that is used again,
	// until the path is closed or has ended.
	read func(take func(b []byte, now time.Time))
	// ceiling is the most that the interface takes at once.
	ceiling func() int
	// close ends send and whoever reads. It may be called more than once.
	close func()
	ended atomic.Bool // nothing comes any more
}
