package qemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"

	"ore/vm"
	"ore/vm/home"
	"ore/vm/process"
)

// Accelerators.
const (
	KVM = "kvm"
	TCG = "tcg"
)

// maxCPUs is the most CPUs of one machine: what the PC machine type takes
// without further devices.
const maxCPUs = 255

// maxDisks is the most disks of one machine: a PC's bus has 32 places, and
// besides disks there are at most 7 devices.
const maxDisks = 24

// Config says where QEMU is.
type Config struct {
	// Program is the path of qemu-system-x86_64. It is not needed when Command
	// is set.
	Program string

	// Command, when set, makes the command that runs QEMU with args, for a
	// QEMU that needs an environment or working directory of its own. It must
	// not set standard streams or ExtraFiles.
	Command func(args ...string) *exec.Cmd

	// Accelerator is KVM or TCG; "" is what Probe found, and TCG before Probe
	// was called. A caller that keeps an Ability sets it from there.
	Accelerator string

	// ProbeKernel is a kernel that Probe boots to see whether KVM works. Without
	// one KVM is not used: that the device exists proves nothing.
	ProbeKernel string
}

// Host is the hypervisor. Make one with New.
type Host struct {
	config   Config
	launcher process.Launcher

	rate        func() uint64 // of the time stamp counter, in kHz; measured once
	mu          sync.Mutex    // guards accelerator
	accelerator string
}

var _ vm.Hypervisor = (*Host)(nil)

// New returns a hypervisor that runs the QEMU that c names. It does not touch
// the host; Probe and Start do.
func New(c Config) *Host {
	a := c.Accelerator
	if a == "" {
		a = TCG
	}
	return &Host{config: c, accelerator: a, rate: sync.OnceValue(tscRate)}
}

// Name returns "qemu".
func (h *Host) Name() string { return "qemu" }

func (h *Host) accelerated() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.accelerator
}

func ability() vm.Ability { return vm.Ability{Works: true, MaxCPUs: maxCPUs, MaxDisks: maxDisks} }

// Start starts a machine.
func (h *Host) Start(ctx context.Context, c vm.Config) (vm.Machine, error) {
	if c.Net != nil {
		defer c.Net.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	if err := c.Check(ability()); err != nil {
		return nil, err
	}
	m, err := h.start(ctx, c, h.accelerated())
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	return m, nil
}

func (h *Host) start(ctx context.Context, c vm.Config, accelerator string) (_ *machine, err error) {
	dir, err := os.MkdirTemp(c.Dir, "qemu-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	initrd, err := c.WriteInitrd(dir)
	if err != nil {
		return nil, err
	}
	l := layout{initrd: initrd, accelerator: accelerator}
	if accelerator == TCG {
		l.tsc = h.rate()
	}
	w, err := l.connect(c)
	if err != nil {
		return nil, err
	}
	defer w.inherited()
	cmd := h.command(arguments(c, l)...)
	cmd.ExtraFiles = w.files
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	}
	cmd.Env = append(cmd.Env, "TMPDIR="+dir, "HOME="+dir)
	tail := process.NewTail(c.Console)
	p, err := h.launcher.Start(cmd, process.Options{Console: tail})
	if err != nil {
		w.home.Close()
		w.monitor.Close()
		return nil, err
	}
	parts := process.Parts{Name: c.Name, Dir: dir, Home: home.Conn{Conn: w.home}, Console: tail}
	return newMachine(process.Watch(ctx, p, parts), w.monitor), nil
}

func (h *Host) command(args ...string) *exec.Cmd {
	if h.config.Command != nil {
		return h.config.Command(args...)
	}
	return exec.Command(h.config.Program, args...)
}

// wires are our ends of the connections with a QEMU, and the files it inherits.
type wires struct {
	home, monitor net.Conn
	files         []*os.File
	own           []*os.File // those of files that are not the caller's
}

// connect makes the connections and notes their descriptors in l.
func (l *layout) connect(c vm.Config) (*wires, error) {
	ours, theirs, err := home.SocketPair()
	if err != nil {
		return nil, err
	}
	monitor, theirMonitor, err := home.SocketPair()
	if err != nil {
		ours.Close()
		theirs.Close()
		return nil, err
	}
	w := &wires{home: ours, monitor: monitor, own: []*os.File{theirs, theirMonitor}}
	w.files = []*os.File{theirs, theirMonitor}
	l.home, l.monitor = firstFD, firstFD+1
	if c.Net != nil {
		l.net = firstFD + len(w.files)
		w.files = append(w.files, c.Net)
	}
	return w, nil
}

func (w *wires) inherited() {
	for _, f := range w.own {
		f.Close()
	}
}
