package memory

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// worst finds the process whose oom_score is the highest in a /proc at dir, never
// process 1; pid 0 is none. Threads of the kernel and what is already ending, which
// have no memory, have the score 0.
func worst(dir string) (pid int, name string) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, ""
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var most uint64
	for _, n := range names {
		p, err := strconv.Atoi(n)
		if err != nil || p <= 1 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, n, "oom_score"))
		if score := number(b); err == nil && score > most {
			pid, most = p, score
		}
	}
	b, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(pid), "comm"))
	return pid, string(bytes.TrimSpace(b))
}

// console takes what the kernel says. Errors (level 3) are shown.
func console(line string) { os.WriteFile("/dev/kmsg", []byte("<3>"+line), 0) }

// killWorst kills the worst process, unless due says meanwhile that it is not
// needed any more, tells it, and has the kernel take its memory at once.
func killWorst(dir string, tell func(string), due func() bool) {
	pid, name := worst(dir)
	if pid == 0 {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has just ended
	}
	defer unix.Close(fd)
	if !due() || unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return
	}
	tell(fmt.Sprintf("Out of memory: Killed process %d (%s)\n", pid, name))
	unix.Syscall(unix.SYS_PROCESS_MRELEASE, uintptr(fd), 0, 0) // of no use before Linux 5.15
}
