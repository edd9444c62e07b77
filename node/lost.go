package node

import (
	"context"
	"errors"
	"strings"
	"time"

	"ore/guest"
	"ore/vm"
)

// LostError says that a machine ended while it had work to do.
type LostError struct {
	Machine string
	Cause   error // how it ended
}

// Error gives the machine and the cause. What to do is known to whoever runs it.
func (e *LostError) Error() string { return lostPrefix(e.Machine) + e.Cause.Error() }

func lostPrefix(machine string) string { return "machine " + machine + " is lost: " }

// asLost makes what a node said of a machine that a client asked for an error of
// the same kind: over a connection only its text comes.
func asLost(machine string, err error) error {
	if cause, ok := strings.CutPrefix(err.Error(), lostPrefix(machine)); ok {
		return &LostError{Machine: machine, Cause: errors.New(cause)}
	}
	return err
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Cause }

// errPoweredOff is the cause when a machine ended in order, but not by us.
var errPoweredOff = errors.New("it was powered off or rebooted from inside")

// watch notices the machine's end, and ends with it: at the latest by end.
func (m *machine) watch() {
	m.ended = make(chan struct{})
	go func() {
		defer close(m.ended)
		m.cause = m.vm.Wait()
	}()
}

// lost says whether a machine of the node has ended by itself.
func (m *machine) lost() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// lostTime is how long after home has broken a machine may take to end. A
// kernel that panics goes on for a moment to say why.
const lostTime = 3 * time.Second

// exec runs a command on m. If it was not done because the machine ended, the
// error is a *LostError.
func (m *machine) exec(ctx context.Context, c guest.Command) (guest.Exit, error) {
	exit, err := m.conn.Exec(ctx, c)
	if err == nil || ctx.Err() != nil {
		return exit, err
	}
	select {
	case <-time.After(lostTime):
		return exit, err
	case <-m.ended:
		return exit, &LostError{Machine: m.started.Name, Cause: why(m.cause)}
	}
}

// why is the cause of a machine's end without what LostError says itself.
func why(err error) error {
	var exit *vm.ExitError
	switch {
	case err == nil:
		return errPoweredOff
	case errors.As(err, &exit):
		return exit.Cause
	default:
		return err
	}
}
