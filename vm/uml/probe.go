package uml

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"ore/vm"
)

// probeTime is how long the kernel may take to say its version; it does so
// within milliseconds, and a host under heavy load is given a second's grace
// many times over.
const probeTime = 10 * time.Second

// Probe runs the kernel to ask for its version and looks for a folder that can
// hold memory. That is all a host can refuse: the kernel needs no device.
func (h *Host) Probe(ctx context.Context) (vm.Ability, error) {
	a := ability()
	a.Works = false
	version, err := h.version(ctx)
	if ctx.Err() != nil {
		return vm.Ability{}, fmt.Errorf("probe uml: %w", ctx.Err())
	}
	if err != nil {
		a.Why = fmt.Sprintf("the kernel does not run: %v", err)
		a.Fix = "install the package user-mode-linux, or let ore fetch it"
		return a, nil
	}
	a.Version = version
	dir, err := h.memory(h.config.MemoryDir)
	if err != nil {
		a.Why = fmt.Sprintf("no folder for the machines' memory: %v", err)
		a.Fix = "mount /dev/shm without noexec, or set TMPDIR to a folder that allows executable files"
		return a, nil
	}
	a.Works = true
	a.Why = "User Mode Linux " + version + ", memory in " + dir
	return a, nil
}

func (h *Host) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	c := h.command("--version")
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Args, cmd.Env, cmd.Dir = c.Args, c.Env, c.Dir
	if c.Err != nil {
		return "", c.Err
	}
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}
