package cluster

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// stdin is the input of the one part that has one. It knows how much of it was
// read: a lost machine's work can be done again only with the same input.
type stdin struct {
	from io.Reader
	read int64 // guarded by the call that reads: one at a time
}

// stdin returns the part's input, nil if it has none. Only a job of one part
// has one: nobody can say which of several is to read it.
func (r *run) stdin(p Part) *stdin {
	if r.Stdin == nil || p.array || len(r.work) != 1 {
		return nil
	}
	return &stdin{from: r.Stdin}
}

// Read reads on.
func (s *stdin) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.read += int64(n)
	return n, err
}

// SetReadDeadline stops a read, if that is possible.
func (s *stdin) SetReadDeadline(t time.Time) error {
	if d, ok := s.from.(interface{ SetReadDeadline(time.Time) error }); ok {
		return d.SetReadDeadline(t)
	}
	return errors.ErrUnsupported
}

// rewind goes back to where the first reader began.
func (s *stdin) rewind() error {
	if s == nil || s.read == 0 {
		return nil
	}
	if seeker, ok := s.from.(io.Seeker); ok {
		if _, err := seeker.Seek(-s.read, io.SeekCurrent); err == nil {
			s.read = 0
			return nil
		}
	}
	return fmt.Errorf("not tried again: %d bytes of the standard input are read and gone: give it as a file", s.read)
}
