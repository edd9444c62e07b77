// Package afterwards does what may wait until a host has nothing better to do,
// and what nobody should have to ask for: it folds the layers of images that have
// as many as an image may ([image.MaxLayers]), makes the images of disks that
// machines come for again and again (package site/disks), and at last what its caller
// adds: where the settings allow it, images are prepared ahead of need (package
// site/ahead).
//
// A command that meets such an image starts this program again ([Start]), in a
// session of its own, so that it goes on when the command has ended, and gives
// it the lowest claim to processor and disk. It waits until the host is idle, works
// for at most half an hour at a time, and ends ([Work]), all of it within an hour. Of many that
// are started at once one stays. It belongs to no job: what a job leaves behind it is
// not.
//
// It may be killed at any time. A folded image takes the place of the one before
// in one transaction, what was unfinished is collected by whoever opens the cache
// next, and whoever meets the image again starts the work again.
package afterwards

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ore/cache"
	"ore/cache/flight"
	"ore/site/disks"
)

// Command is the hidden subcommand that calls Work.
const Command = "afterwards"

const (
	// longestWait is how long the host is given to become idle, and the work that begins
	// meanwhile to end. Whoever meets the image later starts again.
	longestWait = time.Hour
	// look is how often it is seen whether it is: the load average that this goes
	// by changes every five seconds (proc(5)).
	look = 5 * time.Second
	// longestWork bounds the work itself, preparing as well: folding copies blocks, some
	// GB at the speed of a slow disk.
	longestWork = 30 * time.Minute
	// lowest is the least claim to the processor (nice(1)).
	lowest = 19
)

// errBusy is why work was put off again.
var errBusy = errors.New("the host is busy")

// Start starts this program with Command in a session of its own and does not
// wait for it. Its streams are none of this process's, which somebody may wait for
// the end of.
func Start() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start what was put off: %w", err)
	}
	return start(self, os.Environ())
}

func start(program string, environ []string) error {
	cmd := exec.Command(program, Command)
	cmd.Env = environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start what was put off: %w", err)
	}
	return cmd.Process.Release()
}

// Work does it as soon as idle says so, and returns how many images were folded or
// made. If
// somebody else is at it, whom the folder's lock tells, it does nothing. last, if not
// nil, is called once all else is done.
func Work(ctx context.Context, c *cache.Cache, idle func() bool, last func(context.Context) error) (int, error) {
	lock, err := flight.Try(filepath.Join(c.Dir(), "locks", Command))
	if errors.Is(err, flight.ErrLocked) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("do what was put off: %w", err)
	}
	defer lock.Close()
	return worker{folder: folder{cache: c, idle: idle}, look: look, last: last}.work(ctx)
}

// worker does it when the host is idle.
type worker struct {
	folder
	look time.Duration // between two looks at the host
	last func(context.Context) error
}

func (w worker) work(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestWait)
	defer cancel()
	every := time.NewTicker(w.look)
	defer every.Stop()
	for {
		if w.idle() {
			done, err := w.some(ctx)
			if n += done; !errors.Is(err, errBusy) {
				return n, err
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return n, nil // the next time will do
		}
	}
}

func (w worker) some(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, longestWork)
	defer cancel()
	n, err := w.all(ctx)
	if err != nil {
		return n, err
	}
	made, left, err := disks.Book{Cache: w.cache}.Make(ctx, w.idle)
	switch {
	case err != nil:
	case left:
		err = errBusy
	case w.last != nil:
		err = w.last(ctx)
	}
	return n + made, err
}

// Yield gives this process, the only one of its session, the lowest claim to
// processor and disk. What cannot be given up is kept: the work is the same. By
// its group all threads are meant (setpriority(2) with a process means a thread).
func Yield() {
	_ = unix.Setpriority(unix.PRIO_PGRP, 0, lowest)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoGroup, 0, ioprioClassIdle<<ioprioClassShift)
}

// Numbers of ioprio_set(2), from linux/ioprio.h.
const (
	ioprioWhoGroup   = 2
	ioprioClassIdle  = 3
	ioprioClassShift = 13
)
