// Package pulse tells a host that is gone from one that is busy. A program that
// waits for a core says nothing for a while, and its host's kernel still
// acknowledges what comes; a host that is gone, or a cable that is cut,
// acknowledges nothing (RFC 9293, 3.8.1).
package pulse

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Unanswered returns for how long the other side has acknowledged nothing of what
// was written to it; zero if it has acknowledged all, or if the connection does
// not say. Connections that are not the kernel's may say it by a method of this
// name.
func Unanswered(c net.Conn) time.Duration {
	for {
		under, ok := c.(interface{ NetConn() net.Conn }) // such as TLS's
		if !ok {
			break
		}
		c = under.NetConn()
	}
	switch c := c.(type) {
	case *net.TCPConn:
		return unacknowledged(c)
	case interface{ Unanswered() time.Duration }:
		return c.Unanswered()
	}
	return 0
}

// rounds is how often what was written might have been there and back before it
// counts as unanswered: queues on the way grow.
const rounds = 3

// unacknowledged asks the kernel (TCP_INFO, tcp(7)).
func unacknowledged(c *net.TCPConn) time.Duration {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	var since time.Duration
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.Unacked == 0 {
			return
		}
		// What comes acknowledges nothing new, and is a sign of life all the same.
		since = time.Duration(min(info.Last_ack_recv, info.Last_data_recv)) * time.Millisecond
		if since < rounds*time.Duration(info.Rtt)*time.Microsecond {
			since = 0
		}
	})
	if err != nil {
		return 0
	}
	return since
}
