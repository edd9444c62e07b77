package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ore/guest"
	"ore/vm"
)

// LostError says that a machine ended while it had work to do.
type LostError struct {
	Machine string
	Cause   error // how it ended
}

// Error gives the machine, the cause, and what to do.
func (e *LostError) Error() string {
	return fmt.Sprintf("machine %s is lost: %v: 'ore run --retries' has the work of lost machines done again on new ones, 'ore grow' starts a lost one of a test bed again", e.Machine, e.Cause)
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
