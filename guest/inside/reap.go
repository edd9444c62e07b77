package inside

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper waits for all children of this process, its own and those whose
// parents died, and hands the status of its own to who started them. No other
// code may wait for a child.
type reaper struct {
	mu  sync.Mutex // guards own; held over fork, so that no child ends unknown
	own map[int]chan unix.WaitStatus
}

func newReaper() *reaper { return &reaper{own: make(map[int]chan unix.WaitStatus)} }

// start begins a process; its status comes once on the channel. With guard,
// which is held for the fork, the caller can change for a moment what the
// child is to inherit.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr, guard func() func()) (int, <-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer guard()()
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return 0, nil, err
	}
	c := make(chan unix.WaitStatus, 1)
	r.own[pid] = c
	return pid, c, nil
}

// run reaps until ctx ends.
func (r *reaper) run(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		r.reap()
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

func (r *reaper) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		r.mu.Lock()
		if c, ok := r.own[pid]; ok {
			delete(r.own, pid)
			c <- status
		}
		r.mu.Unlock()
	}
}
