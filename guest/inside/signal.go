package inside

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct of that name (rt_sigaction(2)).
type sigaction struct{ handler, flags, restorer, mask uint64 }

func (a *sigaction) set(n unix.Signal) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(n), uintptr(unsafe.Pointer(a)), 0, unsafe.Sizeof(a.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("signal %d: %w", n, errno)
	}
	return nil
}

// sigIgn is SIG_IGN (<signal.h>).
const sigIgn = 1

// The signals of the C libraries, glibc's and musl's (nptl(7)). The runtime leaves
// them alone, in children too: ignored here, they would be in every job, and the
// last of them is SIGRTMIN there.
const (
	firstLibrary = unix.Signal(32)
	lastLibrary  = unix.Signal(34)
)

// Flags of the kernel's struct sigaction (<asm/signal.h>).
const (
	actionRestorer = 0x04000000
	actionOnStack  = 0x08000000
	actionRestart  = 0x10000000
)

// passing is the action of a handler that does nothing, which no child inherits:
// execve(2) gives it the default action.
func passing() *sigaction {
	a := &sigaction{flags: actionRestorer | actionOnStack | actionRestart}
	a.handler, a.restorer = handlers()
	return a
}

// handlers returns the addresses of a handler that does nothing, and of what it
// returns to.
func handlers() (handler, restorer uint64)
