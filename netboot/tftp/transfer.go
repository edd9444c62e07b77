package tftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	// firstWait is how long a first answer is waited for, unless the client
	// asked for another time: above what a busy firmware needs, below what a
	// person notices. It doubles with each try.
	firstWait = time.Second
	// maxWait bounds the doubling.
	maxWait = 8 * time.Second
	// maxTries is how often the same packets are sent before the client is
	// taken for gone: with the waits above, half a minute.
	maxTries = 6
	// maxTransfer ends a transfer that goes on for ever: 100 MB at 200 kB/s.
	maxTransfer = 500 * time.Second
	// maxWindow is the most blocks sent before an acknowledgement. 32 full
	// frames are what small receivers (a NIC's ring, firmware's buffer) still hold.
	maxWindow = 32
)

// transfer is one file on its way to one client.
type transfer struct {
	conn    *net.UDPConn // hears only the client
	file    File
	block   int
	window  int
	wait    time.Duration
	packet  []byte
	answer  []byte
	retried int64 // the block from which the last repetition began, 0 for none
}

// newTransfer applies the agreed options.
func newTransfer(conn *net.UDPConn, f File, o options) *transfer {
	t := &transfer{conn: conn, file: f, block: plainBlock, window: 1, wait: firstWait}
	if o.block > 0 {
		t.block = o.block
	}
	if o.window > 0 {
		t.window = o.window
	}
	if o.timeout > 0 {
		t.wait = time.Duration(o.timeout) * time.Second
	}
	t.packet = make([]byte, headerLen+t.block)
	t.answer = make([]byte, headerLen+maxName+1)
	return t
}

// run sends the file. The options were agreed already if oack is not nil; it is
// the first packet then.
func (t *transfer) run(ctx context.Context, oack []byte) error {
	if oack != nil {
		if err := t.agree(ctx, oack); err != nil {
			return err
		}
	}
	last := t.file.Size/int64(t.block) + 1 // the last block is shorter, or empty
	window := t.window
	if oack == nil {
		window = 1
	}
	for next := int64(1); next <= last; {
		n, err := t.advance(ctx, next, min(next+int64(window)-1, last))
		if err != nil {
			return fmt.Errorf("block %d of %d: %w", next, last, err)
		}
		next += n
	}
	return nil
}

// agree sends the OACK until the client acknowledges it as block 0.
func (t *transfer) agree(ctx context.Context, oack []byte) error {
	wait := t.wait
	for range maxTries {
		if _, err := t.conn.Write(oack); err != nil {
			return err
		}
		block, err := t.hear(ctx, wait)
		if err == nil && block == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		wait = min(2*wait, maxWait)
	}
	return fmt.Errorf("options: no answer to %d packets", maxTries)
}

// advance sends the blocks from first to last until at least one of them is
// acknowledged, and returns how many are.
func (t *transfer) advance(ctx context.Context, first, last int64) (int64, error) {
	wait := t.wait
	for range maxTries {
		for i := first; i <= last; i++ {
			if err := t.send(i); err != nil {
				return 0, err
			}
		}
		n, err := t.progress(ctx, first, last, wait)
		if n > 0 || err != nil {
			return n, err
		}
		wait = min(2*wait, maxWait)
	}
	return 0, fmt.Errorf("no answer to %d packets", maxTries)
}

// progress waits for an acknowledgement of a block from first to last. It
// returns 0 when they are to be sent again: after a silence, or when the client
// of a window says that it misses the first (RFC 7440, section 4). That is
// believed once for a block: a repeated acknowledgement that is merely late
// would double everything after it, the Sorcerer's Apprentice of RFC 1123,
// section 4.2.3.1.
func (t *transfer) progress(ctx context.Context, first, last int64, wait time.Duration) (int64, error) {
	until := time.Now().Add(wait)
	for {
		block, err := t.hear(ctx, time.Until(until))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		n := int64(block - uint16(first-1)) // in the arithmetic of 16 bits
		if n > 0 && n <= last-first+1 {
			return n, nil
		}
		if n == 0 && t.window > 1 && t.retried != first {
			t.retried = first
			return 0, nil
		}
	}
}

// send sends block number i, from 1.
func (t *transfer) send(i int64) error {
	offset := (i - 1) * int64(t.block)
	n := min(int64(t.block), t.file.Size-offset)
	binary.BigEndian.PutUint16(t.packet, opData)
	binary.BigEndian.PutUint16(t.packet[2:], uint16(i))
	if n > 0 {
		if _, err := t.file.ReadAt(t.packet[headerLen:headerLen+n], offset); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read: %w", err)
		}
	}
	_, err := t.conn.Write(t.packet[:headerLen+n])
	return err
}

// hear waits for a packet of the client's that can be read.
func (t *transfer) hear(ctx context.Context, wait time.Duration) (uint16, error) {
	if err := t.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for {
		n, err := t.conn.Read(t.answer)
		if err != nil {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, err
		}
		block, err := parseAck(t.answer[:n])
		if !errors.Is(err, errSilence) {
			return block, err
		}
	}
}
