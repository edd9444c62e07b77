package fleet

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine has this process, and with it all that it starts, run on no more than n
// of the CPUs that it may use (sched_setaffinity(2)): the kernel holds machines to
// that, whatever they do. Threads that there are already would stay where they are,
// so the process is started again in its own place, with its input as it is.
func confine(n int) error {
	if n < 1 {
		return fmt.Errorf("--cores %d: use 1 to %d", n, runtime.NumCPU())
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fmt.Errorf("--cores %d: %w", n, err)
	}
	there := may.Count()
	if n > there {
		return fmt.Errorf("--cores %d: this process may use %d: say at most that", n, there)
	}
	if n == there {
		return nil
	}
	// The last ones: a host's own work tends to be on the first.
	for cpu := 0; there > n; cpu++ {
		if may.IsSet(cpu) {
			may.Clear(cpu)
			there--
		}
	}
	if err := unix.SchedSetaffinity(0, &may); err != nil {
		return fmt.Errorf("--cores %d: %w", n, err)
	}
	return fmt.Errorf("--cores %d: start again: %w", n, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}
