package namespace

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exitOrphaned is the exit code of a process whose starter is gone. Nobody is
// there to read it, but it shows in traces.
const exitOrphaned = 137

// Enter completes what [Start] began; it is called first thing in main. In a
// process that Start did not start it does nothing; one that Probe started ends
// here. The error has been told to the starter already: the caller only needs
// to exit.
func Enter() error {
	said, ok := os.LookupEnv(variable)
	if !ok {
		return nil
	}
	os.Unsetenv(variable)
	g, err := parseGreeting(said)
	if err != nil {
		return err
	}
	syscall.CloseOnExec(g.fd)
	lifeline := os.NewFile(uintptr(g.fd), "lifeline")
	// The byte means that the identities are there.
	if _, err := io.ReadFull(lifeline, make([]byte, 1)); err != nil {
		return fmt.Errorf("enter namespaces: lifeline: %w", err)
	}
	device, err := g.enter()
	if err != nil {
		fmt.Fprintf(lifeline, "%v\n", err)
		return fmt.Errorf("enter namespaces: %w", err)
	}
	// Both goroutines belong to the process as a whole and end with it.
	go watch(lifeline)
	if g.kinds == 0 || g.kinds&PID != 0 {
		deaths := make(chan os.Signal, 1)
		signal.Notify(deaths, unix.SIGCHLD)
		go reap(deaths)
	}
	if err := ready(g.fd, device); err != nil {
		return fmt.Errorf("enter namespaces: lifeline: %w", err)
	}
	if os.Getenv(probeVariable) != "" {
		os.Exit(0)
	}
	return nil
}

// watch ends the process when its starter is gone.
func watch(lifeline *os.File) {
	io.Copy(io.Discard, lifeline)
	os.Exit(exitOrphaned)
}

// enter does what the namespaces ask for. It returns what serves the folder of
// Options.Lazy, nil if there is none.
func (g greeting) enter() (device *os.File, err error) {
	if g.kinds&Mount != 0 {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return nil, fmt.Errorf("make mounts private: %w", explain(err))
		}
	}
	if g.kinds&(Mount|PID) == Mount|PID {
		if err := MountProc("/proc"); err != nil {
			return nil, err
		}
	}
	if g.kinds&Net != 0 {
		if err := raiseLoopback(); err != nil {
			return nil, err
		}
	}
	if g.kinds&PID == 0 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return nil, fmt.Errorf("adopt orphans: %w", err)
		}
	}
	if dir := os.Getenv(lazyVariable); dir != "" {
		os.Unsetenv(lazyVariable)
		device = mountLazy(dir)
	}
	if g.kinds&User != 0 && g.ids != AsRoot {
		return device, g.ids.settle()
	}
	return device, nil
}

// MountProc mounts the view that the calling process's PID namespace gives.
func MountProc(target string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", target, "proc", flags, ""); err != nil {
		return fmt.Errorf("mount a fresh /proc: %w", explain(err))
	}
	return nil
}

// settle gives up the ambient capabilities that only had to outlive the exec:
// as root every exec brings them back, as anybody else nothing needs them.
func (ids IDs) settle() error {
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return fmt.Errorf("give up ambient capabilities: %w", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range data {
		data[i].Inheritable = 0
		if ids == Keep {
			data[i].Effective, data[i].Permitted = 0, 0
		}
	}
	if err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data[0])), 0); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

// onAllThreads does a system call whose effect is on a thread for all of them.
// In programs with C code, such as tests under the race detector, package
// syscall can not do that; there only this thread gives something up, which
// matters little: it is power over a namespace that is the program's own.
func onAllThreads(number, a, b, c uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(number, a, b, c, 0, 0, 0)
	if errno == unix.ENOTSUP {
		_, _, errno = syscall.RawSyscall6(number, a, b, c, 0, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// raiseLoopback brings the loopback interface of a new network namespace up
// (netdevice(7)).
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("raise loopback: %w", explain(err))
	}
	return nil
}
