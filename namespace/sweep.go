package namespace

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sweepPasses is how often Sweep looks again: each pass kills all that it
// sees, so only a process that forks faster than we read /proc survives one.
const sweepPasses = 100

// Sweep kills every process whose environment carries the mark that was given
// to Start, except this one, and returns how many it killed. It is for hosts
// without PID namespaces, where nothing else ends what a killed supervisor
// left behind. Programs that were started with an environment of their own
// are not found: drivers hand the mark on.
func Sweep(mark string) (int, error) {
	if mark == "" {
		return 0, fmt.Errorf("sweep processes: an empty mark would mean all of them")
	}
	want := []byte(markVariable + "=" + mark)
	killed := map[int]bool{}
	for range sweepPasses {
		found := false
		for _, pid := range pids() {
			if pid == os.Getpid() || !carries(pid, want) {
				continue
			}
			found = true
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return len(killed), fmt.Errorf("sweep process %d: %w", pid, err)
			}
			killed[pid] = true
		}
		if !found {
			return len(killed), nil
		}
	}
	return len(killed), fmt.Errorf("sweep processes marked %q: some are still there after %d passes", mark, sweepPasses)
}

// carries reports whether a living process has the entry in its environment.
// That of a dead one, or of another user's, reads as empty.
func carries(pid int, entry []byte) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	for _, e := range bytes.Split(b, []byte{0}) {
		if bytes.Equal(e, entry) {
			return true
		}
	}
	return false
}
