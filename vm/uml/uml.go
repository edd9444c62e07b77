// Package uml starts machines with User Mode Linux: a Linux kernel that is an
// ordinary program. It needs no privilege, no hardware virtualisation and no
// device, and its guest's code runs at native speed; a system call or page
// fault costs a few microseconds (ptrace). A machine has one CPU.
//
// # How a machine is wired
//
// Home is memory shared through /dev/mmapper with the serial line /dev/ttyS1
// for its bell (package home says why), the network a vector interface over
// the inherited end of the caller's socket pair (vec0:transport=fd), the
// console its standard output. Layers and disk are ubd devices; layers are
// opened read-only and without a lock, so that machines share them.
//
// # What its guests must know
//
// The kernel is the program itself: Config.Kernel is not used. Its modules
// come with it (squashfs and overlay are modules, ext4 is built in). File
// systems of type hostfs are switched off, because a guest's root could mount
// the host's files with them. The kernel is not a wall against a guest's root,
// who can load modules into it: those would run as the host's user.
package uml

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"

	"ore/vm"
	"ore/vm/home"
	"ore/vm/process"
)

// Config says where User Mode Linux is.
type Config struct {
	// Program is the path of the kernel, linux.uml. It is not needed when
	// Command is set.
	Program string

	// Command, when set, makes the command that runs the kernel with args,
	// for a kernel that needs an environment or working directory of its own.
	// It must not set standard streams or ExtraFiles.
	Command func(args ...string) *exec.Cmd

	// MemoryDir is a folder on tmpfs for the machines' memory, which is an
	// unlinked sparse file that only costs what is touched. "" chooses the
	// first folder of /dev/shm, $TMPDIR, /tmp and the machine's own that allows
	// files to be mapped executable.
	MemoryDir string
}

// Host is the hypervisor. Make one with New.
type Host struct {
	config   Config
	launcher process.Launcher
	memory   func(dir string) (string, error)
}

var _ vm.Hypervisor = (*Host)(nil)

// New returns a hypervisor that runs the kernel that c names. It does not
// touch the host; Probe and Start do.
func New(c Config) *Host {
	h := &Host{config: c}
	shared := sync.OnceValue(func() string { return sharedMemoryDir(c.MemoryDir) })
	h.memory = func(dir string) (string, error) {
		if d := shared(); d != "" {
			return d, nil
		}
		return dir, mappable(dir)
	}
	return h
}

// Name returns "uml".
func (h *Host) Name() string { return "uml" }

// ability is what the User Mode Linux of Debian 12 and 13 can do.
func ability() vm.Ability {
	return vm.Ability{Works: true, MaxCPUs: 1, MaxDisks: maxDisks, OwnKernel: true}
}

// Start starts a machine.
func (h *Host) Start(ctx context.Context, c vm.Config) (vm.Machine, error) {
	if c.Net != nil {
		defer c.Net.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	if err := check(c); err != nil {
		return nil, err
	}
	m, err := h.start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	return m, nil
}

func check(c vm.Config) error {
	err := c.Check(ability())
	if errors.Is(err, vm.ErrTooManyCPUs) {
		return fmt.Errorf("%w (User Mode Linux has one): use the hypervisor qemu", err)
	}
	if err != nil {
		return err
	}
	return checkPaths(c)
}

func (h *Host) start(ctx context.Context, c vm.Config) (_ *process.Machine, err error) {
	dir, err := os.MkdirTemp(c.Dir, "uml-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	memory, err := h.memory(dir)
	if err != nil {
		return nil, err
	}
	initrd, err := c.WriteInitrd(dir)
	if err != nil {
		return nil, err
	}
	wire, err := home.NewWire()
	if err != nil {
		return nil, err
	}
	defer wire.Inherited()
	l := layout{initrd: initrd, dir: dir, bell: firstFD, memory: firstFD + 1}
	files := []*os.File{wire.Bell, wire.Memory}
	if c.Net != nil {
		l.net = firstFD + len(files)
		files = append(files, c.Net)
	}
	cmd := h.command(arguments(c, l)...)
	cmd.ExtraFiles = files
	cmd.Env = append(environment(cmd.Env), "TMPDIR="+memory, "HOME="+dir)
	tail := process.NewTail(c.Console)
	p, err := h.launcher.Start(cmd, process.Options{Console: tail, FixedAddress: true})
	if err != nil {
		wire.Stream.Close()
		return nil, err
	}
	return process.Watch(ctx, p, process.Parts{Name: c.Name, Dir: dir, Home: wire.Stream, Console: tail}), nil
}

func (h *Host) command(args ...string) *exec.Cmd {
	if h.config.Command != nil {
		return h.config.Command(args...)
	}
	return exec.Command(h.config.Program, args...)
}

// environment is what the kernel needs of ours. Words that it does not know
// on its command line become init's environment, but its own environment is
// the host's affair and none of the guest's.
func environment(set []string) []string {
	if set != nil {
		return set
	}
	return []string{"PATH=" + os.Getenv("PATH")}
}
