package inside

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest/wire"
)

const (
	// drainGrace is how long output is still waited for when the main process
	// has ended and others hold its pipes: a filter at the end of a pipe needs
	// a moment to write its last lines, while a server which was started in
	// the background would hold the pipes for ever.
	drainGrace = 250 * time.Millisecond
	// readSize is half of what a pipe holds, so that the process can go on
	// writing while its output is sent.
	readSize = 32 << 10
	// pipeSize is what a pipe holds (pipe(7)): so much is there at most when
	// its writer has ended.
	pipeSize = 64 << 10
)

// exec serves one command from its request to its exit.
func (s *server) exec(st *wire.Stream, q wire.Request) {
	defer s.inputs.Drop(q.ID)
	var controlling sync.WaitGroup
	defer controlling.Wait()
	out := &sender{st: st}
	e, err := s.execute(st, q, out, &controlling)
	var no *notRun
	switch {
	case err == nil:
		wire.WriteExit(st, e)
		st.CloseWrite() // and control reads to the end
		return
	case errors.As(err, &no):
		out.frame(wire.Stderr, []byte("ore-init: "+no.text+"\n"))
		wire.WriteExit(st, wire.Exit{Code: no.code})
	default:
		wire.WriteFailure(st, err)
	}
	st.Finish()
}

// execute runs a command; without an error, control goes on reading the stream.
func (s *server) execute(st *wire.Stream, q wire.Request, out *sender, controlling *sync.WaitGroup) (wire.Exit, error) {
	p, clean, err := s.prepare(q)
	if err != nil {
		return wire.Exit{}, err
	}
	defer clean()
	f, err := openFiles(q)
	if err != nil {
		return wire.Exit{}, err
	}
	defer f.closeOurs()
	proc, err := s.spawn(p, f.theirs)
	f.closeTheirs()
	if err != nil {
		f.closeOutputs()
		return wire.Exit{}, err
	}
	defer proc.group.close()

	run := &running{s: s, proc: proc, files: f, st: st, ended: make(chan struct{}), killed: make(chan struct{})}
	var outputs, inputs sync.WaitGroup
	for k, r := range f.outputs {
		outputs.Go(func() { run.copyOutput(out, k, r) })
	}
	if q.Input {
		inputs.Go(func() { run.copyInput(s.inputs.Take(q.ID), q.TTY != nil) })
	}
	controlling.Go(run.control)

	status := <-proc.status
	run.finish(q.Sweep)
	close(run.ended)
	run.interruptOutputs()
	outputs.Wait()
	inputs.Wait()
	return exitOf(status), nil
}

// running is a command between its start and its end.
type running struct {
	s      *server
	proc   *process
	files  *files
	st     *wire.Stream
	ended  chan struct{} // the main process is gone, and the others if they are to be
	killed chan struct{} // SIGKILL was asked for

	mu         sync.Mutex // guards below
	terminated bool       // the caller wants the end
	over       bool       // the process is not to be signalled any more
}

// finish ends what the main process left behind, if that is wanted: at once
// for a sweep; after cancelling, with the same grace as the main process had.
func (r *running) finish(sweep bool) {
	r.mu.Lock()
	terminated := r.terminated
	r.mu.Unlock()
	if terminated {
		r.proc.waitEmpty(r.killed)
	}
	if terminated || sweep {
		r.proc.signal(unix.SIGKILL)
	}
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
}

// control does what the caller says until the stream ends. A stream that
// breaks off means that nobody waits for the command any more.
func (r *running) control() {
	buf := make([]byte, wire.MaxFrame)
	var once sync.Once
	for {
		k, p, err := wire.ReadFrame(r.st, buf)
		if err != nil {
			if err != io.EOF {
				r.signal(unix.SIGKILL)
				once.Do(func() { close(r.killed) })
			}
			return
		}
		switch k {
		case wire.Signal:
			sig := unix.Signal(p[0])
			r.signal(sig)
			if sig == unix.SIGKILL {
				once.Do(func() { close(r.killed) })
			}
		case wire.Resize:
			if r.files.tty != nil {
				setSize(r.files.tty, wire.ParseResize(p))
			}
		}
	}
}

func (r *running) signal(sig unix.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.terminated = r.terminated || sig == unix.SIGTERM || sig == unix.SIGKILL
	r.proc.signal(sig)
}

// sender puts the outputs of a command on its stream, one frame after another.
type sender struct {
	mu sync.Mutex // held while a frame is sent
	st *wire.Stream
}

func (o *sender) frame(k wire.Sort, p []byte) error {
	b := make([]byte, wire.FrameHeader, wire.FrameHeader+len(p))
	return o.send(k, append(b, p...))
}

// send sends b, whose first bytes are room for the header.
func (o *sender) send(k wire.Sort, b []byte) error {
	wire.PutHeader(b, k, len(b)-wire.FrameHeader)
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.st.Write(b)
	return err
}

// copyOutput passes on what is written to r. When the main process has ended,
// it takes what is in the pipe and leaves the rest to the background.
func (r *running) copyOutput(out *sender, k wire.Sort, f *os.File) {
	buf := make([]byte, wire.FrameHeader+readSize)
	for {
		n, err := f.Read(buf[wire.FrameHeader:])
		if n > 0 && out.send(k, buf[:wire.FrameHeader+n]) != nil {
			err = errors.New("nobody listens")
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			drain(out, k, f, buf)
			err = os.ErrDeadlineExceeded
		}
		if err == nil {
			continue
		}
		if err == io.EOF || errors.Is(err, unix.EIO) { // EIO is a terminal's end
			f.Close()
			return
		}
		// Others may write on: with a closed pipe they would get SIGPIPE.
		f.SetReadDeadline(time.Time{})
		r.s.background.Go(func() {
			defer f.Close()
			io.Copy(io.Discard, f)
		})
		return
	}
}

// drain sends what a pipe holds at this moment.
func drain(out *sender, k wire.Sort, f *os.File, buf []byte) {
	f.SetReadDeadline(time.Time{})
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for left := pipeSize; left > 0; {
		n := 0
		raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), buf[wire.FrameHeader:])
			return true
		})
		if err != nil || n <= 0 || out.send(k, buf[:wire.FrameHeader+n]) != nil {
			return
		}
		left -= n
	}
}

// interruptOutputs gives those who still hold the pipes a moment.
func (r *running) interruptOutputs() {
	for _, f := range r.files.outputs {
		f.SetReadDeadline(time.Now().Add(drainGrace))
	}
}

// past is a deadline that stops whoever waits at once.
func past() time.Time { return time.Unix(1, 0) }

// copyInput passes the caller's input on until one side ends.
func (r *running) copyInput(streams <-chan *wire.Stream, tty bool) {
	var in *wire.Stream
	select {
	case in = <-streams:
	case <-r.ended:
		return
	}
	defer in.Close()
	w := r.files.input
	var stopping sync.WaitGroup
	defer stopping.Wait()
	copied := make(chan struct{})
	defer close(copied)
	stopping.Go(func() {
		select {
		case <-r.ended:
			in.SetReadDeadline(past())
			w.SetWriteDeadline(past())
		case <-copied:
		}
	})
	_, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{in})
	if tty {
		if err == nil {
			w.Write([]byte{4}) // the end of input, as typed (termios(3), VEOF)
		}
		return
	}
	w.Close()
}
