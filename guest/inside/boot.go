package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest/inside/memory"
	"ore/guest/inside/system"
	"ore/guest/wire"
	"ore/vm/home"
)

// machine is process 1. It does not return.
func machine() {
	// Collecting garbage is for the long run; during the start it only costs.
	debug.SetGCPercent(gcPercent)
	m := system.Begin(launcherNames()...)
	s := &server{
		layout: machineLayout(), reaper: newReaper(), cgroups: &cgroups{},
		exposed: exposeToKiller, powerOff: switchOff, lost: switchOff, meet: m.Meet,
	}
	failed, err := m.Boot()
	if err == nil {
		failed, err = m.Through(system.Stage{Name: "signals", Do: catchSignals})
	}
	if err == nil {
		s.identity = m.Identity
		failed, err = m.Through(system.Stage{Name: "service", Do: s.setUp})
	}
	if err == nil && len(m.Identity.Mounts) > 0 {
		failed, err = m.Through(system.Stage{Name: "inputs", Do: m.MountInputs}) // some lie in the job's folder
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "ore-init: %s: %v\n", failed, err)
	}
	if e := s.goHome(m, failed, err); e != nil {
		fmt.Fprintf(os.Stderr, "ore-init: %v\n", e)
	}
	switchOff()
}

// gcPercent lets the few megabytes that this process ever uses grow freely
// between collections.
const gcPercent = 400

// setUp makes ready what commands need.
func (s *server) setUp() (err error) {
	if s.cgroups, err = newCgroups(); err != nil {
		// A kernel without them still runs jobs; what is lost is said.
		fmt.Fprintf(os.Stderr, "ore-init: control groups: %v: processes of jobs are not bounded\n", err)
	}
	if err := spareFromKiller(); err != nil {
		return err
	}
	if err := s.layout.makeJob(); err != nil {
		return err
	}
	return s.writeHosts()
}

// goHome greets the host, or tells it what went wrong, and does what it says
// until home ends.
func (s *server) goHome(m *system.Machine, failed string, cause error) error {
	stream, err := home.Open()
	if err != nil {
		return errors.Join(cause, err)
	}
	hello := wire.Hello{Token: m.Identity.Token, Name: m.Identity.Name, Kernel: release(), Timings: m.Timings}
	if cause != nil {
		hello.Stage, hello.Error = failed, cause.Error()
	}
	welcome, err := wire.SendHello(stream, hello)
	if err != nil || cause != nil {
		return err
	}
	setTime(welcome.UnixNanos)
	showErrors()
	ctx, cancel := context.WithCancel(context.Background())
	s.background.Go(func() { memory.Watch(ctx) })
	defer cancel()
	return s.serve(ctx, stream)
}

// showErrors has the kernel's errors written to the console from here on: that
// it kills processes for want of memory is told there. Kernels are started more
// silent, since they call errors what devices they do not find.
func showErrors() {
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("4"), 0o644); err != nil {
		fmt.Fprintf(os.Stderr, "ore-init: console: %v\n", err)
	}
}

// clockSlack is how far the machine's clock may be off before it is set: the
// greeting's own way takes some milliseconds.
const clockSlack = 50 * time.Millisecond

// setTime sets the clock by the host's, unless it is right.
func setTime(nanos int64) {
	host := time.Unix(0, nanos)
	if off := time.Until(host); nanos > 0 && (off > clockSlack || off < -clockSlack) {
		t := unix.NsecToTimeval(nanos)
		if err := unix.Settimeofday(&t); err != nil {
			fmt.Fprintf(os.Stderr, "ore-init: set time: %v\n", err)
		}
	}
}

// catchSignals makes every signal harmless that a job can send to process 1.
// Most are ignored, which is one system call each, where to have os/signal catch
// them would be ten. No job inherits that: the runtime gives a child the default
// action of each signal that it has a handler for, and does not know that these
// are gone. The default action would not do here, though a process 1 has it only
// for signals that its thread blocks (the kernel's complete_signal): threads of
// this program do block them.
func catchSignals() error {
	// The runtime's own, and the reaper's; those that stop and continue, which
	// stop no process 1 and for which the runtime has no handler.
	keep := []os.Signal{unix.SIGURG, unix.SIGCHLD, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU}
	// Those that a fault in this program raises, from which the runtime makes a
	// panic or a trace, and the one of a broken pipe, which it raises itself.
	// Somebody else's are caught and forgotten.
	faults := []os.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGPIPE}
	signal.Notify(make(chan os.Signal, 1), faults...)
	keep = append(keep, faults...)
	ignore := sigaction{handler: sigIgn}
	for n := unix.Signal(1); n <= lastSignal; n++ {
		if n == unix.SIGKILL || n == unix.SIGSTOP || slices.Contains(keep, os.Signal(n)) {
			continue
		}
		action := &ignore
		if n >= firstLibrary && n <= lastLibrary {
			action = passing()
		}
		if err := action.set(n); err != nil {
			return err
		}
	}
	return nil
}

// lastSignal is the last real-time signal (signal(7)).
const lastSignal = 64

// switchOff ends the machine at once. Nobody reads its disk again, so that
// nothing is written out.
func switchOff() {
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	for {
		unix.Pause() // until the machine is gone
	}
}

const oomScore = "/proc/self/oom_score_adj"

// spareFromKiller keeps the killer for want of memory away from process 1.
func spareFromKiller() error { return os.WriteFile(oomScore, []byte("-1000"), 0o644) }

// exposeToKiller makes a child that is forked now inherit no such protection.
func exposeToKiller() func() {
	os.WriteFile(oomScore, []byte("0"), 0o644)
	return func() { spareFromKiller() }
}
