package pulse

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Parts of the time for which a source may say nothing. By default that is a second,
// and a source says something ten times in it.
const (
	// doubtPart is after which part of it a source is asked for a sign.
	doubtPart = 0.15
	// answerPart is for how long its host may not acknowledge the question. With what
	// went before a host that is gone is found out within four tenths of a second.
	answerPart = 0.25
	// lookPart is how often that is looked at.
	lookPart = 0.05
	// beginTimes times the whole is how long a new connection may be silent: its first
	// bytes wait behind all that other streams have in the queue of the source's
	// link (4 MB at 20 Mbit/s are 1.6 s), its request in that of ours.
	beginTimes = 4
)

// Reader reads what a source sends that is never silent for long, and gives up on one
// that is. One goroutine uses it, and nobody else writes to the connection meanwhile.
type Reader struct {
	Conn net.Conn
	// Silence is for how long a source may say nothing: it may wait for a core.
	Silence time.Duration
	// Ask is what is written to have the source's host answer, if the source is to
	// be passed over sooner that is gone: something that it reads and ignores.
	Ask []byte

	heard bool // something came
	wake  int  // how many bytes wake us; zero is one
}

// Read implements [io.Reader].
func (r *Reader) Read(b []byte) (int, error) {
	silence := r.Silence
	if !r.heard {
		silence *= beginTimes
	}
	begun, asked := time.Now(), time.Time{}
	for {
		if err := r.Conn.SetReadDeadline(time.Now().Add(r.pause(begun, asked, silence))); err != nil {
			return 0, err
		}
		n, err := r.Conn.Read(b)
		var timeout net.Error
		if n > 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
			r.heard = r.heard || n > 0
			return n, err
		}
		switch now := time.Now(); {
		case now.Sub(begun) >= silence:
			return 0, fmt.Errorf("nothing came for %v: %w", silence, err)
		case !r.asks():
		case asked.IsZero():
			if _, err := r.Conn.Write(r.Ask); err != nil {
				return 0, err
			}
			asked = now
		case now.Sub(asked) >= r.part(answerPart) && Unanswered(r.Conn) >= r.part(answerPart):
			return 0, fmt.Errorf("nothing came for %v, and the host acknowledges nothing: %w", now.Sub(begun).Round(time.Millisecond), err)
		}
	}
}

// asks says whether the source is asked for a sign: what a new connection says
// stands in the same queues as its first bytes.
func (r *Reader) asks() bool { return r.heard && len(r.Ask) > 0 }

func (r *Reader) part(p float64) time.Duration { return time.Duration(p * float64(r.Silence)) }

// pause is for how long to wait now.
func (r *Reader) pause(begun, asked time.Time, silence time.Duration) time.Duration {
	rest := silence - time.Since(begun)
	switch {
	case !r.asks():
		return rest
	case asked.IsZero():
		return min(rest, r.part(doubtPart)-time.Since(begun))
	}
	return min(rest, r.part(lookPart))
}

// WakeAt has the kernel wake the reader when n bytes are there (SO_RCVLOWAT,
// socket(7)). If it cannot be set the reader is woken more often, and no more than that.
func (r *Reader) WakeAt(n int) {
	tcp, ok := r.Conn.(*net.TCPConn)
	if !ok || n == max(r.wake, 1) {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) == nil {
			r.wake = n
		}
	})
}
