package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest"
	"ore/guest/wire"
	"ore/vm/home"
)

// boot is the way from the kernel's first process to a machine that serves.
type boot struct {
	identity guest.Identity
	devices  []string // block devices in order
	cgroups  *cgroups
	timings  []wire.Timing
	last     time.Time
}

// stage is one step of the start; its name is what people see.
type stage struct {
	name string
	do   func() error
}

// machine is process 1. It does not return.
func machine() {
	// Collecting garbage is for the long run; during the start it only costs.
	debug.SetGCPercent(gcPercent)
	catchSignals()
	b := &boot{last: time.Now(), cgroups: &cgroups{}}
	b.timings = append(b.timings, wire.Timing{Stage: "kernel", Micros: sinceKernel().Microseconds()})
	failed, err := b.run()
	if err != nil {
		fmt.Fprintf(os.Stderr, "ore-init: %s: %v\n", failed, err)
	}
	if e := b.serve(failed, err); e != nil {
		fmt.Fprintf(os.Stderr, "ore-init: %v\n", e)
	}
	switchOff()
}

// gcPercent lets the few megabytes that this process ever uses grow freely
// between collections.
const gcPercent = 400

func (b *boot) run() (string, error) {
	for _, s := range []stage{
		{"early", mountEarly},
		{"identity", b.readIdentity},
		{"entropy", b.seed},
		{"modules", loadModules},
		{"devices", b.findDevices},
		{"layers", b.mountLayers},
		{"disk", b.mountDisk},
		{"overlay", b.mountOverlay},
		{"root", b.switchRoot},
		{"system", b.setUpSystem},
		{"network", b.setUpNetwork},
	} {
		if err := s.do(); err != nil {
			return s.name, err
		}
		now := time.Now()
		b.timings = append(b.timings, wire.Timing{Stage: s.name, Micros: now.Sub(b.last).Microseconds()})
		b.last = now
	}
	return "", nil
}

// serve greets the host, or tells it what went wrong, and does what it says
// until home ends.
func (b *boot) serve(failed string, cause error) error {
	stream, err := home.Open()
	if err != nil {
		return errors.Join(cause, err)
	}
	hello := wire.Hello{Token: b.identity.Token, Name: b.identity.Name, Kernel: release(), Timings: b.timings}
	if cause != nil {
		hello.Stage, hello.Error = failed, cause.Error()
	}
	welcome, err := wire.SendHello(stream, hello)
	if err != nil || cause != nil {
		return err
	}
	setTime(welcome.UnixNanos)
	s := &server{
		identity: b.identity, layout: machineLayout(), cgroups: b.cgroups, reaper: newReaper(),
		exposed: exposeToKiller, powerOff: switchOff, lost: switchOff,
	}
	return s.serve(context.Background(), stream)
}

// readIdentity reads who this machine is.
func (b *boot) readIdentity() error {
	j, err := os.ReadFile(guest.IdentityPath)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(j, &b.identity); err != nil {
		return fmt.Errorf("%s: %w", guest.IdentityPath, err)
	}
	return nil
}

// sinceKernel is how long ago the kernel began.
func sinceKernel() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
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

// catchSignals makes every signal harmless that a job can send to process 1;
// those that it does not catch would end it or make it write a trace.
func catchSignals() {
	var all []os.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		// SIGCHLD is the reaper's, SIGURG the Go scheduler's own, and the
		// others cannot be caught.
		if n != unix.SIGCHLD && n != unix.SIGURG && n != unix.SIGKILL && n != unix.SIGSTOP {
			all = append(all, n)
		}
	}
	signal.Notify(make(chan os.Signal, 1), all...)
}

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
