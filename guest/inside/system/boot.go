// Package system makes a Debian system out of layers and a private disk: all
// that process 1 does from its first instruction until the machine could serve.
package system

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest"
	"ore/guest/wire"
)

// Run is the folder in memory that belongs to ore-init.
const Run = "/run/ore"

// Machine is what the start found out.
type Machine struct {
	Identity guest.Identity
	Timings  []wire.Timing

	last    time.Time // when the last stage ended
	names   []string  // under which the program is known to jobs
	devices []string  // block devices in order
}

// Stage is one step of a start; its name is what people see.
type Stage struct {
	Name string
	Do   func() error
}

// Begin notes how long the kernel took. The names are those under which jobs
// find this program in /run/ore/bin.
func Begin(names ...string) *Machine {
	b := &Machine{last: time.Now(), names: names}
	b.Timings = []wire.Timing{{Stage: "kernel", Micros: sinceKernel().Microseconds()}}
	return b
}

// Boot goes through the stages that make the system. If one fails, it returns
// its name; what could be learned until then is in m.
func (b *Machine) Boot() (failed string, err error) {
	return b.Through(
		Stage{"early", mountEarly},
		Stage{"identity", b.readIdentity},
		Stage{"entropy", b.seed},
		Stage{"modules", loadModules},
		Stage{"devices", b.findDevices},
		Stage{"layers", b.mountLayers},
		Stage{"disk", b.mountDisk},
		Stage{"overlay", b.mountOverlay},
		Stage{"root", b.switchRoot},
		Stage{"file systems", b.mountMore},
		Stage{"kernel modules", b.mountModules},
		Stage{"system", b.setUpSystem},
		Stage{"network", b.setUpNetwork},
	)
}

// Through does stages one after another and notes their times.
func (b *Machine) Through(stages ...Stage) (failed string, err error) {
	for _, s := range stages {
		if err := s.Do(); err != nil {
			return s.Name, err
		}
		now := time.Now()
		b.Timings = append(b.Timings, wire.Timing{Stage: s.Name, Micros: now.Sub(b.last).Microseconds()})
		b.last = now
	}
	return "", nil
}

// readIdentity reads who this machine is.
func (b *Machine) readIdentity() error {
	j, err := readFile(guest.IdentityPath)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(j, &b.Identity); err != nil {
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
