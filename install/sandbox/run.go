package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"ore/install/sandbox/instead"
	"ore/namespace"

	"golang.org/x/sys/unix"
)

// Command is a program that runs in a tree.
type Command struct {
	Root string   // the tree
	Args []string // the program, looked up in the PATH of Env, and its arguments
	Env  []string
	Dir  string // in the tree; "" means "/"

	Stdin          io.Reader // nil for /dev/null
	Stdout, Stderr io.Writer // nil for /dev/null

	Network bool // the host's network; otherwise a loopback interface is all there is

	Instead instead.Set // what is seen in place of the tree's own
}

// ExitError means that the program ran and did not end with exit code 0.
type ExitError struct {
	Program string
	Code    int            // when it exited
	Signal  syscall.Signal // when a signal ended it, else 0
}

// Error says how the program ended.
func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s: killed by signal %d (%v)", e.Program, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("%s: exit code %d", e.Program, e.Code)
}

// order is what a worker asks of a stage, as JSON on the control socket.
type order struct {
	Tier    Tier
	Root    string
	Args    []string
	Env     []string
	Dir     string
	Network bool
	Instead instead.Set
}

// outcome is the stage's answer.
type outcome struct {
	Error  string // the program could not be run
	Code   int
	Signal int
}

// The descriptors of a stage, beside its standard ones.
const (
	controlFile = 3
	tableFile   = 4 // in tier Single
)

// Run runs a program in a tree as its root folder and returns when it has
// ended; everything that it started and left behind is killed then. There are
// fresh /proc and /dev, an empty /sys as far as the tree's is, and no network
// unless asked for. /run and /tmp are the tree's own. An *ExitError means that
// the program did not succeed, any other error that it could not be run.
func (s *Sandbox) Run(ctx context.Context, c Command) error {
	if len(c.Args) == 0 {
		return errors.New("run in sandbox: no program")
	}
	undo, err := mountPoints(c)
	if err != nil {
		return fmt.Errorf("run %s in sandbox: %w", c.Args[0], err)
	}
	defer undo()
	out, err := s.converse(ctx, c)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("run %s in sandbox: %w", c.Args[0], ctx.Err())
	case err != nil:
		return fmt.Errorf("run %s in sandbox: %w", c.Args[0], err)
	case out.Error != "":
		return fmt.Errorf("run %s in sandbox: %s", c.Args[0], out.Error)
	case out.Code != 0 || out.Signal != 0:
		return &ExitError{Program: c.Args[0], Code: out.Code, Signal: syscall.Signal(out.Signal)}
	}
	return nil
}

// converse starts a stage, gives it the order and returns what it says.
func (s *Sandbox) converse(ctx context.Context, c Command) (outcome, error) {
	var out outcome
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return out, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	defer theirs.Close()
	o := namespace.Options{
		Kinds: namespace.PID | namespace.Mount | namespace.IPC,
		Env:   append(stageRuntime(), roleVariable+"="+roleStage),
		Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr,
		Files: []*os.File{theirs},
	}
	if !c.Network {
		o.Kinds |= namespace.Net
	}
	if s.records.table != nil {
		o.Files = append(o.Files, s.records.table.file)
	}
	s.starting.RLock()
	p, err := namespace.Start(ctx, o)
	s.starting.RUnlock()
	if err != nil {
		return out, err
	}
	theirs.Close()
	err = json.NewEncoder(ours).Encode(order{
		Tier: s.tier, Root: c.Root, Args: c.Args, Env: c.Env, Dir: c.Dir, Network: c.Network,
		Instead: c.Instead,
	})
	if err == nil {
		err = json.NewDecoder(ours).Decode(&out)
	}
	if werr := p.Wait(); err != nil && werr != nil {
		err = fmt.Errorf("%w: %w", err, werr)
	}
	return out, err
}

// mountPoints makes the folders that a Run mounts on where the tree lacks them,
// and returns how to take them away again.
func mountPoints(c Command) (undo func(), err error) {
	var made []string
	undo = func() {
		for _, p := range made {
			os.Remove(p)
		}
	}
	for _, name := range []string{"proc", "dev"} {
		p := filepath.Join(c.Root, name)
		err := os.Mkdir(p, 0o755)
		if err == nil {
			made = append(made, p)
		} else if !errors.Is(err, os.ErrExist) {
			undo()
			return nil, err
		}
	}
	if p := filepath.Join(c.Root, resolvConf); c.Network {
		f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			f.Close()
			made = append(made, p)
		}
	}
	return undo, nil
}
