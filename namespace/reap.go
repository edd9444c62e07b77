package namespace

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reap waits for dead children that nobody else will wait for: orphans that
// the kernel gave to us as the first process of the PID namespace.
//
// A child of our own must be left to whoever started it. Package os holds a
// descriptor for each process that it started, from its birth until it was
// waited for or released (pidfd_open(2)). So an orphan is a dead child for
// which this process has no such descriptor.
func reap(deaths <-chan os.Signal) {
	for range deaths {
		for {
			dead := deadChildren()
			if len(dead) == 0 {
				break
			}
			held, err := heldPids()
			if err != nil {
				break
			}
			reaped := false
			for _, pid := range dead {
				if !held[pid] {
					n, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
					reaped = reaped || err == nil && n == pid
				}
			}
			if !reaped {
				break
			}
		}
	}
}

// deadChildren lists the zombies whose parent is this process. A child is
// looked up in /proc since the kernel shows only the first of them to wait.
func deadChildren() []int {
	var dead []int
	self := os.Getpid()
	for _, pid := range pids() {
		state, parent, ok := readStat(pid)
		if ok && state == 'Z' && parent == self {
			dead = append(dead, pid)
		}
	}
	return dead
}

// pids lists the processes in /proc.
func pids() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var list []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

// readStat returns the state and the parent of a process (proc(5)). The second
// field, a name in parentheses, may itself hold parentheses and spaces.
func readStat(pid int) (state byte, parent int, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, false
	}
	return parseStat(b)
}

func parseStat(b []byte) (state byte, parent int, ok bool) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, false
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 2 || len(f[0]) != 1 {
		return 0, 0, false
	}
	parent, err := strconv.Atoi(string(f[1]))
	return f[0][0], parent, err == nil
}

// heldPids lists the processes for which this process has a descriptor.
func heldPids() (map[int]bool, error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	held := map[int]bool{}
	for _, fd := range fds {
		to, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil || !strings.Contains(to, "pidfd") {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			continue
		}
		if pid, ok := parsePidfd(info); ok {
			held[pid] = true
		}
	}
	return held, nil
}

// parsePidfd finds the line "Pid:\tNUMBER" of a descriptor's fdinfo.
func parsePidfd(info []byte) (int, bool) {
	for line := range bytes.Lines(info) {
		if v, ok := bytes.CutPrefix(line, []byte("Pid:")); ok {
			pid, err := strconv.Atoi(string(bytes.TrimSpace(v)))
			return pid, err == nil
		}
	}
	return 0, false
}
