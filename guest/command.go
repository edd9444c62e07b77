package guest

import (
	"io"
	"time"

	"ore/guest/wire"
)

// DefaultGrace is how long a command has between SIGTERM and SIGKILL to write
// down what it has, when it does not say itself.
const DefaultGrace = 5 * time.Second

// Command is what a machine is to run. One of Args and Script is needed; with
// both, Args are the script's arguments.
type Command struct {
	Args   []string
	Script string   // run by what its first line names (#!), else by /bin/sh
	Env    []string // "NAME=value", over what every process finds
	Dir    string   // "" for /job, which is made if it is not there
	User   string   // name or number, "" for root

	Stdin          io.Reader // nil is an empty input
	Stdout, Stderr io.Writer // nil throws away; with a TTY all goes to Stdout
	TTY            *TTY      // non-nil gives the process a terminal

	Secrets   map[string][]byte // by name; see the package's page
	Processes int               // at most so many at once, 0 for what the machine can bear
	Sweep     bool              // end also the processes that the main one leaves
	Grace     time.Duration     // between SIGTERM and SIGKILL; 0 is DefaultGrace
}

// TTY describes the terminal that a command runs on.
type TTY struct {
	Size   Size
	Resize <-chan Size // may be nil
}

// Size is a terminal's, in characters.
type Size = wire.Size

// Exit is how a command ended: the exit code, or the signal's name ("SIGKILL")
// with the code that shells give it, 128 and its number.
type Exit = wire.Exit

// Hello is what a machine said when it came up.
type Hello = wire.Hello

// Condition is a machine's state at a moment.
type Condition = wire.Condition

func (c Command) request(op wire.Operation) (wire.Request, wire.Streams) {
	grace := c.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	q := wire.Request{
		Op: op, Args: c.Args, Script: c.Script, Env: c.Env, Dir: c.Dir, User: c.User,
		Secrets: c.Secrets, Pids: c.Processes, Sweep: c.Sweep, GraceMS: grace.Milliseconds(),
	}
	s := wire.Streams{Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr}
	if c.TTY != nil {
		size := c.TTY.Size
		q.TTY, s.Resize = &size, c.TTY.Resize
	}
	return q, s
}
