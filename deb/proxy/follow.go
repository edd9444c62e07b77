package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// errAgain cuts off who has had bytes that may have been wrong.
var errAgain = errors.New("the transfer was begun again")

// follower reads a file while it comes. It ends with an error rather than with
// a last byte that nobody vouches for.
type follower struct {
	ctx    context.Context
	flight *flight
	turn   int // of the part's beginnings, which one is read
	at     int64
	had    bool // some bytes have been read
	part   *os.File
}

var _ io.ReadSeekCloser = (*follower)(nil)

// Seek goes to an offset, which is known to be right only when it is read.
func (r *follower) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.flight.file.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: before the file's begin", offset)
	}
	r.at = offset
	return offset, nil
}

// Read returns what is there, and waits where nothing is.
func (r *follower) Read(b []byte) (int, error) {
	size := r.flight.file.Size
	for {
		s, changed := r.flight.state()
		limit := min(s.have, size-1)
		if s.done {
			limit = size
		}
		switch {
		case s.err != nil:
			return 0, s.err
		case s.turn != r.turn && r.had:
			return 0, errAgain
		case r.at >= size:
			return 0, io.EOF
		}
		r.turn = s.turn
		if r.at < limit {
			n, err := r.take(b[:min(int64(len(b)), limit-r.at)])
			if err != nil || n > 0 {
				return n, err
			}
		}
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-changed:
		}
	}
}

// take reads from the part. It returns nothing where the part was begun again
// meanwhile: what was read is then of neither.
func (r *follower) take(b []byte) (int, error) {
	if r.part == nil {
		var err error
		if r.part, err = openEither(r.flight.file.Part(), r.flight.file.Path); err != nil {
			return 0, err
		}
	}
	n, err := r.part.ReadAt(b, r.at)
	if s, _ := r.flight.state(); s.turn != r.turn {
		return 0, nil
	}
	if n < len(b) {
		return 0, fmt.Errorf("read %s: %w", r.part.Name(), err)
	}
	r.had = true
	r.at += int64(n)
	return n, nil
}

// openEither opens the part, or the file that it has become.
func openEither(part, path string) (*os.File, error) {
	f, err := os.Open(part)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Open(path)
	}
	return f, err
}

// Close closes the part.
func (r *follower) Close() error {
	if r.part == nil {
		return nil
	}
	return r.part.Close()
}
