package inside

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where systemd, and so Debian, has the only hierarchy of
// control groups, version 2 (the kernel's Documentation/admin-guide/cgroup-v2.rst).
const cgroupRoot = "/sys/fs/cgroup"

// cgroups makes a group for every command, so that all its processes can be
// counted and ended whatever they do. The zero value makes none.
type cgroups struct {
	base string // folder of the job's group, "" where there are no groups

	mu   sync.Mutex // guards below
	next int
	left []string // groups whose processes outlived their command
}

// newCgroups takes over the hierarchy at cgroupRoot.
func newCgroups() (*cgroups, error) {
	base := filepath.Join(cgroupRoot, "job")
	if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+pids"), 0o644); err != nil {
		return &cgroups{}, err
	}
	if err := os.Mkdir(base, 0o755); err != nil {
		return &cgroups{}, err
	}
	b, err := os.ReadFile("/proc/sys/kernel/threads-max")
	if err != nil {
		return &cgroups{}, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return &cgroups{}, err
	}
	total, _ := meminfo()
	for file, value := range map[string]string{
		"pids.max":               strconv.Itoa(mostProcesses(n, total)),
		"cgroup.subtree_control": "+pids",
	} {
		if err := os.WriteFile(filepath.Join(base, file), []byte(value), 0o644); err != nil {
			return &cgroups{}, err
		}
	}
	return &cgroups{base: base}, nil
}

const (
	// processMemory is what a process needs at least, with its page tables, its
	// stacks and the pages that it does not share: a small one of a scripting
	// language that was just forked. So many fill the memory and no more.
	processMemory = 512 << 10
	// fewProcesses can run on the smallest machine.
	fewProcesses = 64
)

// mostProcesses is how many processes and threads a job may have on a machine of
// so much memory whose kernel has room for so many: half of that room, which
// leaves process 1, the kernel's threads and whoever looks after it theirs; and
// no more than have memory, so that a fork bomb is told EAGAIN before it has the
// kernel kill whatever it finds.
func mostProcesses(room int, memory int64) int {
	return max(min(room/2, max(int(memory/processMemory), fewProcesses)), 1)
}

// group is the control group of one command; nil where there are none.
type group struct {
	all *cgroups
	dir string
	fd  int
}

// group makes a group that holds at most pids processes, or any number for 0.
func (c *cgroups) group(pids int) (*group, error) {
	if c.base == "" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prune()
	c.next++
	dir := filepath.Join(c.base, strconv.Itoa(c.next))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	g := &group{all: c, dir: dir, fd: -1}
	if pids > 0 {
		if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.Itoa(pids)), 0o644); err != nil {
			os.Remove(dir)
			return nil, fmt.Errorf("control group: %w", err)
		}
	}
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		os.Remove(dir)
		return nil, fmt.Errorf("control group: %w", err)
	}
	g.fd = fd
	return g, nil
}

// prune removes the groups that have become empty meanwhile.
func (c *cgroups) prune() {
	kept := c.left[:0]
	for _, dir := range c.left {
		if os.Remove(dir) != nil {
			kept = append(kept, dir)
		}
	}
	c.left = kept
}

// close gives the group up; processes in it live on.
func (g *group) close() {
	if g == nil {
		return
	}
	unix.Close(g.fd)
	g.all.mu.Lock()
	defer g.all.mu.Unlock()
	g.all.left = append(g.all.left, g.dir)
	g.all.prune()
}

// signal sends sig to every process of the group. SIGKILL reaches also those
// which are forked at this moment.
func (g *group) signal(sig unix.Signal) {
	if sig == unix.SIGKILL {
		os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0o644)
		return
	}
	b, _ := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	for f := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
			unix.Kill(pid, sig)
		}
	}
}

// empty reports whether no process is left in the group.
func (g *group) empty() bool {
	b, err := os.ReadFile(filepath.Join(g.dir, "cgroup.events"))
	return err != nil || strings.Contains(string(b), "populated 0")
}
