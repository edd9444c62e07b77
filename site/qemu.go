package site

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ore/boot"
	"ore/deb/shelf"
	"ore/node"
	"ore/site/ledger"
	"ore/site/supervisor"
	"ore/vm/qemu"
)

// prepareQEMU gets ready what machines under QEMU start with: the host's own
// QEMU if it has one, else the archive's.
func (s *Site) prepareQEMU(ctx context.Context, c boot.Config, kernel string, b *node.Boot) error {
	q, err := boot.QEMU(ctx, c, kernel)
	if err != nil {
		return err
	}
	program := shelf.Host("qemu-system-x86_64")
	if program == nil {
		if program, err = c.Shelf.Program(ctx, "qemu-system-x86", "usr/bin/qemu-system-x86_64"); err != nil {
			return err
		}
	}
	b.Program, b.Env = []string{program.Path}, libraries(program.Environ())
	b.Initrd, b.Release = q.Initrd, q.Kernel.Version
	b.Kernel = q.Kernel.Vmlinux
	if b.Kernel == "" {
		b.Kernel = q.Kernel.Path
	}
	if b.Modules, err = q.Modules(ctx); err != nil {
		return err
	}
	b.Accelerator, err = s.accelerator(ctx, *b)
	return err
}

// acceleration is what is remembered of a probe of QEMU.
type acceleration struct {
	Boot        string // which start of the host's kernel
	Program     string // the QEMU that was tried, with its size and time
	User        int
	Accelerator string
	Until       time.Time // when an answer that was none is asked for again; zero for never
}

// unsureTime is how long machines are emulated after a try that a busy host did
// not let come to its end, which took six seconds: the next job shall not wait
// for the same, and the next hour not go by.
const unsureTime = 10 * time.Minute

func (s *Site) accelerationPath() string { return filepath.Join(s.Dirs.State, "qemu.json") }

// accelerator says how QEMU runs machines here: on KVM where a kernel has been
// seen to start on it, else emulated. Trying takes up to some seconds, so what
// came of it stands until the host is started anew or QEMU is another.
func (s *Site) accelerator(ctx context.Context, b node.Boot) (string, error) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return qemu.TCG, nil
	}
	f.Close()
	want, err := asked(b)
	if err != nil {
		return "", err
	}
	var known acceleration
	if text, err := os.ReadFile(s.accelerationPath()); err == nil && json.Unmarshal(text, &known) == nil {
		want.Accelerator = known.Accelerator
		if known.stands(want, time.Now()) {
			return known.Accelerator, nil
		}
	}
	b.Accelerator = ""
	h, err := supervisor.Driver(b)
	if err != nil {
		return "", err
	}
	a, err := h.Probe(ctx)
	if err != nil {
		return "", err
	}
	want.Accelerator = a.Accelerator
	if a.Unsure {
		want.Until = time.Now().Add(unsureTime)
	}
	return a.Accelerator, s.remember(want)
}

// stands says whether what is remembered is an answer still to what is asked.
func (a acceleration) stands(asked acceleration, now time.Time) bool {
	asked.Until = a.Until
	return a == asked && (a.Until.IsZero() || now.Before(a.Until))
}

// asked says what an accelerator is remembered by.
func asked(b node.Boot) (acceleration, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return acceleration{}, fmt.Errorf("probe qemu: %w", err)
	}
	info, err := os.Stat(b.Program[0])
	if err != nil {
		return acceleration{}, fmt.Errorf("probe qemu: %w", err)
	}
	return acceleration{
		Boot: strings.TrimSpace(string(id)), User: os.Geteuid(),
		Program: fmt.Sprintf("%s %d %d", b.Program[0], info.Size(), info.ModTime().UnixNano()),
	}, nil
}

// remember keeps what came of a probe.
func (s *Site) remember(a acceleration) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return ledger.WriteWhole(s.accelerationPath(), b)
}
