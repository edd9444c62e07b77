package vm

import (
	"errors"
	"fmt"
	"strings"
)

// ErrKilled is the cause in the ExitError of a machine that was ended by Kill.
var ErrKilled = errors.New("killed")

// ErrPanic is the cause in the ExitError of a machine whose kernel gave up.
var ErrPanic = errors.New("kernel panic")

// ExitError tells how a machine ended that did not power itself off. It is the
// guest's, its kernel's or its killer's doing and not a fault of ore.
type ExitError struct {
	Machine string // Config.Name
	Console string // the end of what the console said, perhaps ""
	Cause   error  // ErrKilled, ErrPanic, the context's error, or how the process ended
}

// Error gives the machine, the cause and the last line of the console that
// says something.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("machine %s: %v", e.Machine, e.Cause)
	if l := lastLine(e.Console); l != "" {
		s += ": console: " + l
	}
	return s
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Cause }

func lastLine(s string) string {
	s = strings.TrimRight(s, " \t\r\n")
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
