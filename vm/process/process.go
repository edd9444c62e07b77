// Package process starts a hypervisor's process and makes sure that, once it
// has ended for whatever reason, nothing of it remains.
//
// A process started here is the first of a PID namespace of its own where the
// host allows that, so that its death is the death of all its children, at
// once and by the kernel's hand. This matters most for User Mode Linux, whose
// children run the guest's programs under ptrace: without their tracer they
// would go on as ordinary processes of the host. Where namespaces are refused,
// the process leads a process group, which is killed when its leader has ended.
//
// When the process that called Start dies, the kernel kills the hypervisor
// (PR_SET_PDEATHSIG, prctl(2)). That signal follows the thread that forked and
// not the process, so each hypervisor has a thread of ours that starts it,
// waits for it and does nothing else.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainTime is how long the console may stay open after the hypervisor's first
// process has ended and its group was killed. Only a process that the kernel
// cannot end (in an uninterruptible system call) makes it last.
const drainTime = 5 * time.Second

// Launcher starts processes in the closest confinement that the host allows.
// What it finds to be refused once, it does not try again. The zero value is
// ready to use, from any goroutine.
type Launcher struct {
	refused atomic.Int32 // how many of confinements were refused
}

// confinements are the clone(2) flags to try, the best first. A root user's
// PID namespace needs no user namespace; others need one to have it.
func confinements() [3]uintptr {
	return [3]uintptr{unix.CLONE_NEWPID, unix.CLONE_NEWUSER | unix.CLONE_NEWPID, 0}
}

// Options say how a process is started.
type Options struct {
	Console      io.Writer // gets its output, from one goroutine, until all its processes have ended
	FixedAddress bool      // without address randomisation (personality(2), ADDR_NO_RANDOMIZE)
}

// Process is a started process with its children.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when nothing of it remains
	err  error         // how it ended; readable after done
}

// Start starts cmd, whose Path, Args, Env, Dir and ExtraFiles the caller has
// set. Standard output and error go to the console, standard input is empty.
func (l *Launcher) Start(cmd *exec.Cmd, o Options) (*Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(l, o, r, started)
	err = <-started
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// run is the life of the process, on a thread of its own.
func (p *Process) run(l *Launcher, o Options, console *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore := func() {}
	if o.FixedAddress {
		restore = fixAddresses()
	}
	err := l.start(p)
	restore()
	started <- err
	if err != nil {
		return
	}
	drained := make(chan error, 1)
	go func() { drained <- drain(o.Console, console) }()
	p.err = p.cmd.Wait()
	unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // ESRCH is the best answer
	console.SetReadDeadline(time.Now().Add(drainTime))
	if err := <-drained; err == nil {
		p.reap()
	}
	console.Close()
	close(p.done)
}

// start tries the confinements that were not refused so far. A command can be
// started only once, so each try has one of its own.
func (l *Launcher) start(p *Process) error {
	levels, asked := confinements(), p.cmd
	for {
		n := l.refused.Load()
		p.cmd = &exec.Cmd{
			Path: asked.Path, Args: asked.Args, Env: asked.Env, Dir: asked.Dir, Err: asked.Err,
			Stdout: asked.Stdout, Stderr: asked.Stderr, ExtraFiles: asked.ExtraFiles,
			SysProcAttr: attributes(levels[n]),
		}
		err := p.cmd.Start()
		if err == nil || int(n) == len(levels)-1 || !refusal(err) {
			return err
		}
		l.refused.CompareAndSwap(n, n+1)
	}
}

// refusal tells whether err is a host's way to say no to a namespace:
// no privilege, switched off (user.max_user_namespaces), or not built in.
func refusal(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) ||
		errors.Is(err, unix.EUSERS) || errors.Is(err, unix.EINVAL)
}

func attributes(flags uintptr) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL, Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// fixAddresses switches address randomisation off for what this thread starts
// and returns how to undo it. A personality is a thread's own and inherited.
func fixAddresses() (restore func()) {
	const (
		query           = 0xffffffff // personality(2)
		addrNoRandomize = 0x0040000  // <sys/personality.h>
	)
	old, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, query, 0, 0)
	if errno != 0 {
		return func() {}
	}
	unix.RawSyscall(unix.SYS_PERSONALITY, old|addrNoRandomize, 0, 0)
	return func() { unix.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0) }
}

// drain copies the console until every process that can write to it has ended,
// or until the reading's deadline, which is an error. When w fails the console
// is still read: a guest must not stand still because nobody listens.
func drain(w io.Writer, r io.Reader) error {
	b := make([]byte, 32<<10)
	for {
		n, err := r.Read(b)
		if w != nil && n > 0 {
			if _, bad := w.Write(b[:n]); bad != nil {
				w = nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// reap waits for those of the killed process group that became our children,
// because this process adopts orphans (PID 1, subreaper).
func (p *Process) reap() {
	for {
		_, err := unix.Wait4(-p.cmd.Process.Pid, nil, 0, nil)
		if err != nil && err != unix.EINTR {
			return // ECHILD
		}
	}
}

// Kill kills the process and all its children. It does not wait.
func (p *Process) Kill() {
	select {
	case <-p.done:
		return
	default:
	}
	// The group outlives its leader only inside run, which kills it itself, so
	// the leader's number cannot yet be another process's.
	p.cmd.Process.Kill()
}

// Done is closed when nothing of the process remains.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for Done and returns how the process ended: nil for exit status
// 0, else an *exec.ExitError.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Pid returns the number of the first process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
