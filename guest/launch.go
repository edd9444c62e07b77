package guest

import (
	"context"
	"errors"
	"io"
	"sync"

	"ore/guest/wire"
)

// Launcher runs cmd on another machine of the job for the machine that asked,
// usually with that machine's [Conn.Exec]. The launcher adds to cmd.Env what
// processes of the other machine are to see. ctx ends when the one who asked
// is gone.
type Launcher func(ctx context.Context, machine string, cmd Command) (Exit, error)

// maxLaunchEnv bounds the variables that a machine may ask for elsewhere.
const maxLaunchEnv = 1 << 10

// OnLaunch says who launches for the machine. Without one, every launch is
// refused.
func (c *Conn) OnLaunch(l Launcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.launch = l
}

// serve answers the streams that the machine opens, until the session ends.
func (c *Conn) serve(ctx context.Context) {
	for {
		st, err := c.session.Accept()
		if err != nil {
			c.cancel()
			return
		}
		c.serving.Go(func() { c.answer(ctx, st) })
	}
}

func (c *Conn) answer(ctx context.Context, st *wire.Stream) {
	q, err := wire.ReceiveRequest(st)
	switch {
	case err != nil:
		st.Close()
	case q.Op == wire.Stdin:
		if !c.inputs.Offer(q.ID, st) {
			st.Close()
		}
	case q.Op == wire.Launch:
		defer st.Close()
		c.answerLaunch(ctx, st, q)
	default:
		wire.WriteFailure(st, errors.New("the host does not do that: "+string(q.Op)))
		st.Finish()
	}
}

func (c *Conn) answerLaunch(ctx context.Context, st *wire.Stream, q wire.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.inputs.Drop(q.ID)
	c.mu.Lock()
	launch := c.launch
	c.mu.Unlock()
	if launch == nil || len(q.Env) > maxLaunchEnv {
		wire.WriteFailure(st, errors.New("launch on "+q.To+": this job does not launch on other machines"))
		st.Finish()
		return
	}
	cmd := Command{Args: q.Args, Script: q.Script, Env: q.Env, Dir: q.Dir, User: q.User}
	out := &output{w: st}
	cmd.Stdout, cmd.Stderr = out.of(wire.Stdout), out.of(wire.Stderr)
	if q.Input {
		select {
		case in := <-c.inputs.Take(q.ID):
			defer in.Close()
			cmd.Stdin = in
		case <-ctx.Done():
			return
		}
	}
	// What comes on the stream itself says only that the asker wants the end.
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		buf := make([]byte, wire.MaxFrame)
		wire.ReadFrame(st, buf)
	}()
	e, err := launch(ctx, q.To, cmd)
	if err != nil {
		wire.WriteFailure(st, err)
	} else {
		wire.WriteExit(st, e)
	}
	st.CloseWrite()
	<-watched
}

// output puts both outputs of a process on one stream.
type output struct {
	mu sync.Mutex // held while a frame is written
	w  io.Writer
}

func (o *output) of(k wire.Sort) io.Writer { return &half{o, k} }

type half struct {
	o *output
	k wire.Sort
}

func (h *half) Write(p []byte) (int, error) {
	h.o.mu.Lock()
	defer h.o.mu.Unlock()
	for sent := 0; ; {
		n := min(len(p)-sent, wire.MaxFrame)
		if n == 0 {
			return sent, nil
		}
		if err := wire.WriteFrame(h.o.w, h.k, p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
}
