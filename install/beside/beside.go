// Package beside lets work that is not waited for yet give way to work that is:
// a build decodes packages for later on all cores while scripts run, one after
// the other, on one of them, and it is the scripts that all else waits for.
//
// The kernel weighs threads by their nice value, but where it groups processes
// by session (sched(7), "The autogroup feature") it weighs the groups first. So
// both are told. Where it allows neither, work is only shared less well.
package beside

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// niceness is the nice value of work that gives way: a tenth of the others'
// share of a core (sched(7)), so that it still goes on where others use all.
const niceness = 10

// Thread makes the calling goroutine's thread one that gives way. The goroutine
// keeps the thread to itself, and it ends with it.
func Thread() {
	runtime.LockOSThread()
	_ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, niceness) // refused: see above
}

// Yield makes this process give way to other sessions, until the returned
// function is called.
func Yield() (end func()) {
	group(niceness)
	return func() { group(0) }
}

func group(nice int) {
	_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(nice)), 0) // refused: see above
}
