package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

// killMargin is how long after SIGKILL the other side may still take to say
// that the process has ended. A machine that is one of sixteen on two cores
// and swaps may need seconds; longer means that it does not answer at all.
const killMargin = 10 * time.Second

// Streams are what a called process is connected to. A nil reader is an empty
// input, nil writers throw away.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// Call runs a process at the other side: q is an Exec or a Launch, whose ID and
// Input are set here. When ctx ends, the process gets SIGTERM and after the
// grace of q SIGKILL; Call then returns how it ended and the cause of ctx.
//
// If Stdin has a method SetReadDeadline that works, as pipes, sockets and
// streams do, it is used to stop reading when the process has ended. Any other
// reader may be read once more after Call has returned.
func (s *Session) Call(ctx context.Context, q Request, std Streams) (Exit, error) {
	st, err := s.Open()
	if err != nil {
		return Exit{}, err
	}
	defer st.Close()
	q.ID, q.Input = st.id, std.Stdin != nil
	if err := SendRequest(st, q); err != nil {
		return Exit{}, err
	}
	if q.Input {
		stop, err := s.pump(st.id, std.Stdin)
		if err != nil {
			return Exit{}, err
		}
		defer stop()
	}
	over := make(chan struct{})
	controlled := make(chan struct{})
	go func() {
		defer close(controlled)
		control(ctx, st, time.Duration(q.GraceMS)*time.Millisecond, std.Resize, over)
	}()
	e, err := receive(st, std)
	close(over)
	if err != nil {
		st.Reset()
	} else {
		st.CloseWrite()
	}
	<-controlled
	if cause := context.Cause(ctx); cause != nil {
		return e, cause
	}
	return e, err
}

// pump copies the input to a stream of its own, so that input which nobody
// reads does not hold up signals. The function that it returns ends it.
func (s *Session) pump(id uint32, stdin io.Reader) (func(), error) {
	in, err := s.Open()
	if err != nil {
		return nil, err
	}
	if err := SendRequest(in, Request{Op: Stdin, ID: id}); err != nil {
		in.Close()
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Either the process ended, which is no error here, or the input
		// did: a reader's error ends the input as its end does.
		io.Copy(struct{ io.Writer }{in}, struct{ io.Reader }{stdin})
		in.CloseWrite()
	}()
	return func() {
		in.Close()
		d, ok := stdin.(interface{ SetReadDeadline(time.Time) error })
		if ok && d.SetReadDeadline(time.Unix(1, 0)) == nil {
			<-done
			d.SetReadDeadline(time.Time{})
		}
	}, nil
}

// control sends what the caller's side has to say besides input. Its writes
// end at the latest when the stream is reset.
func control(ctx context.Context, st *Stream, grace time.Duration, resize <-chan Size, over <-chan struct{}) {
	for ctx.Err() == nil {
		select {
		case <-over:
			return
		case <-ctx.Done():
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			if WriteFrame(st, Resize, AppendResize(nil, size)) != nil {
				return
			}
		}
	}
	// Home itself may be stuck, so that the reset must not wait for a write.
	last := time.AfterFunc(grace+killMargin, st.Reset)
	defer last.Stop()
	WriteFrame(st, Signal, []byte{byte(syscall.SIGTERM)})
	select {
	case <-over:
		return
	case <-time.After(grace):
	}
	WriteFrame(st, Signal, []byte{byte(syscall.SIGKILL)})
	<-over
}

// receive passes output on until the process has ended.
func receive(r io.Reader, std Streams) (Exit, error) {
	buf := make([]byte, MaxFrame)
	for {
		k, p, err := ReadFrame(r, buf)
		if err != nil {
			return Exit{}, fmt.Errorf("output of process: %w", noEOF(err))
		}
		switch k {
		case Stdout:
			err = pass(std.Stdout, p)
		case Stderr:
			err = pass(std.Stderr, p)
		case Ended:
			return ParseExit(p)
		case Failure:
			return Exit{}, &Refused{Reason: printable(p)}
		default:
			err = fmt.Errorf("output of process: frame of sort %q", k)
		}
		if err != nil {
			return Exit{}, err
		}
	}
}

func pass(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// Refused says that the other side could not do what it was asked.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// IsRefused tells an answer of the other side from a failure of home.
func IsRefused(err error) bool {
	var r *Refused
	return errors.As(err, &r)
}

// printable makes text of a machine safe to show: it is bounded by the frame
// and loses control characters, which could steer a terminal.
func printable(p []byte) string {
	p = p[:min(len(p), maxFailure)]
	out := make([]rune, 0, len(p))
	for _, r := range string(p) {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			r = ' '
		}
		out = append(out, r)
	}
	return string(out)
}

// ReceiveOutput writes the Stdout frames of a stream to w until it is Ended.
func ReceiveOutput(r io.Reader, w io.Writer) error {
	_, err := receive(r, Streams{Stdout: w})
	return err
}

// Clean returns h with its texts made safe to show.
func Clean(h Hello) Hello {
	h.Name, h.Kernel = printable([]byte(h.Name)), printable([]byte(h.Kernel))
	h.Error, h.Stage = printable([]byte(h.Error)), printable([]byte(h.Stage))
	return h
}
