package guest

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"ore/guest/wire"
)

// Want is what the host expects of a machine that greets it.
type Want struct {
	Token string // of the identity that the machine was given
}

// BootError is a machine's own word on why it could not come up.
type BootError struct{ Machine, Stage, Reason string }

func (e *BootError) Error() string {
	return fmt.Sprintf("boot %s: %s: %s", e.Machine, e.Stage, e.Reason)
}

// Conn is the conversation with one machine. Its methods may be called from
// several goroutines at once.
type Conn struct {
	hello   wire.Hello
	session *wire.Session
	serving sync.WaitGroup // what was started for the machine
	cancel  context.CancelFunc

	mu     sync.Mutex // guards launch
	launch Launcher
	inputs wire.Inputs
}

// Accept waits on home for the greeting of the machine that is wanted, and
// closes home if it does not come before ctx ends or is another's.
func Accept(ctx context.Context, home io.ReadWriteCloser, want Want) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { home.Close() })
	c, err := greet(home, want)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		home.Close()
		return nil, fmt.Errorf("accept machine: %w", err)
	}
	serve, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.session = wire.NewSession(home, true)
	c.serving.Go(func() { c.serve(serve) })
	return c, nil
}

func greet(home io.ReadWriter, want Want) (*Conn, error) {
	h, err := wire.ReceiveHello(home)
	if err != nil {
		return nil, err
	}
	h = wire.Clean(h)
	if want.Token == "" || subtle.ConstantTimeCompare([]byte(h.Token), []byte(want.Token)) != 1 {
		return nil, fmt.Errorf("machine %q shows another token than it was given", h.Name)
	}
	if h.Error != "" {
		return nil, &BootError{Machine: h.Name, Stage: h.Stage, Reason: h.Error}
	}
	if err := wire.SendWelcome(home, wire.Welcome{UnixNanos: time.Now().UnixNano()}); err != nil {
		return nil, err
	}
	h.Token = ""
	return &Conn{hello: h}, nil
}

// Hello returns what the machine said of itself.
func (c *Conn) Hello() Hello { return c.hello }

// Done is closed when the conversation has ended, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.session.Done() }

// Close ends the conversation; the machine switches itself off when it notices.
// It waits for the launchers that the machine had asked for.
func (c *Conn) Close() error {
	c.cancel()
	c.session.Close()
	c.serving.Wait()
	return nil
}

// Exec runs cmd and waits for it. Output arrives as it is written, stdout and
// stderr apart, in order; a writer that is slow slows the command down. The
// error is nil whatever the command's exit code: it says that the machine
// could not do it, or why ctx ended. When ctx ends, all processes of the
// command get SIGTERM and, after its grace, SIGKILL.
//
// A command that does not exist ends with code 127 and one that cannot be
// executed with 126, with a line on stderr, as from a shell.
func (c *Conn) Exec(ctx context.Context, cmd Command) (Exit, error) {
	q, s := cmd.request(wire.Exec)
	e, err := c.session.Call(ctx, q, s)
	if err != nil {
		return e, fmt.Errorf("exec on %s: %w", c.hello.Name, err)
	}
	return e, nil
}

// Put unpacks a tar stream under dir in the machine, which is made if needed.
func (c *Conn) Put(ctx context.Context, dir string, tar io.Reader) error {
	err := c.converse(ctx, wire.Request{Op: wire.Put, Dir: dir}, func(st *wire.Stream) error {
		if _, err := io.Copy(struct{ io.Writer }{st}, tar); err != nil {
			// A reset means that the machine had enough: its answer says why.
			if !errors.Is(err, wire.ErrReset) {
				return err
			}
		}
		if err := st.CloseWrite(); err != nil {
			return err
		}
		return verdict(st)
	})
	if err != nil {
		return fmt.Errorf("put into %s on %s: %w", dir, c.hello.Name, err)
	}
	return nil
}

// Get writes a tar stream of what matches patterns under dir to w. Patterns
// are those of path.Match; a folder stands for all that is in it. A pattern
// without a match is no error. The stream is hostile: see [Extract].
func (c *Conn) Get(ctx context.Context, dir string, patterns []string, w io.Writer) error {
	err := c.converse(ctx, wire.Request{Op: wire.Get, Dir: dir, Patterns: patterns}, func(st *wire.Stream) error {
		if err := st.CloseWrite(); err != nil {
			return err
		}
		return wire.ReceiveOutput(st, w)
	})
	if err != nil {
		return fmt.Errorf("get from %s on %s: %w", dir, c.hello.Name, err)
	}
	return nil
}

// Meet tells the machine that these are all machines of its job now, in the
// order of their ranks, where it was started with others.
func (c *Conn) Meet(ctx context.Context, all []Host) error {
	err := c.converse(ctx, wire.Request{Op: wire.Meet, Hosts: all}, func(st *wire.Stream) error {
		if err := st.CloseWrite(); err != nil {
			return err
		}
		return verdict(st)
	})
	if err != nil {
		return fmt.Errorf("tell %s of the job's machines: %w", c.hello.Name, err)
	}
	return nil
}

// Condition asks for the machine's state.
func (c *Conn) Condition(ctx context.Context) (Condition, error) {
	var is Condition
	err := c.converse(ctx, wire.Request{Op: wire.State}, func(st *wire.Stream) (err error) {
		is, err = wire.ReceiveAnswer[wire.Condition](st)
		return err
	})
	if err != nil {
		return is, fmt.Errorf("condition of %s: %w", c.hello.Name, err)
	}
	return is, nil
}

// PowerOff has the machine switch itself off and waits until home has ended.
// Its disk is not written out: nobody reads it again.
func (c *Conn) PowerOff(ctx context.Context) error {
	err := c.converse(ctx, wire.Request{Op: wire.PowerOff}, verdict)
	select {
	case <-c.session.Done():
		return nil
	default:
	}
	if err != nil {
		return fmt.Errorf("power off %s: %w", c.hello.Name, err)
	}
	select {
	case <-c.session.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("power off %s: %w", c.hello.Name, context.Cause(ctx))
	}
}

// converse sends q on a stream of its own and gives the stream to f.
func (c *Conn) converse(ctx context.Context, q wire.Request, f func(*wire.Stream) error) error {
	st, err := c.session.Open()
	if err != nil {
		return err
	}
	defer st.Close()
	defer context.AfterFunc(ctx, st.Reset)()
	err = wire.SendRequest(st, q)
	if err == nil {
		err = f(st)
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	return err
}

func verdict(st *wire.Stream) error {
	a, err := wire.ReceiveAnswer[wire.Answer](st)
	if err != nil {
		return err
	}
	if a.Error != "" {
		return &wire.Refused{Reason: a.Error}
	}
	return nil
}
