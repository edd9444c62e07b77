package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"ore/vm"
	"ore/vm/home"
	"ore/vm/process"
)

// Fake is a hypervisor whose machines are local processes: for tests of what
// uses machines, not of what they do. The process has home as descriptor 3 and
// the network as descriptor 4, when there is one; its output is the console.
// It boots no kernel and has no devices, but it starts, ends, dies, is killed
// and leaves nothing behind like any other machine.
type Fake struct {
	// Command makes the command that stands for a machine of c.
	Command func(c vm.Config) *exec.Cmd

	// Limits is what Probe says; the zero value works and has no limits.
	Limits vm.Ability

	launcher process.Launcher
}

var _ vm.Hypervisor = (*Fake)(nil)

// Name returns "fake".
func (f *Fake) Name() string { return "fake" }

// Probe returns Limits, which works.
func (f *Fake) Probe(ctx context.Context) (vm.Ability, error) {
	a := f.Limits
	a.Works, a.OwnKernel = true, true
	return a, ctx.Err()
}

// Start starts the process.
func (f *Fake) Start(ctx context.Context, c vm.Config) (vm.Machine, error) {
	if c.Net != nil {
		defer c.Net.Close()
	}
	a, err := f.Probe(ctx)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	if err := c.Check(a); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.Dir, "fake-")
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	ours, theirs, err := home.SocketPair()
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	defer theirs.Close()
	cmd := f.Command(c)
	cmd.ExtraFiles = []*os.File{theirs}
	if c.Net != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, c.Net)
	}
	tail := process.NewTail(c.Console)
	p, err := f.launcher.Start(cmd, process.Options{Console: tail})
	if err != nil {
		ours.Close()
		os.RemoveAll(dir)
		return nil, fmt.Errorf("machine %s: %w", c.Name, err)
	}
	return process.Watch(ctx, p, process.Parts{Name: c.Name, Dir: dir, Home: home.Conn{Conn: ours}, Console: tail}), nil
}
