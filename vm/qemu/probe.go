package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/vm"
)

// versionTime is how long QEMU may take to say its version, loaded host
// included.
const versionTime = 10 * time.Second

// bootTime is how long a kernel may take on KVM to reach the point where it
// misses its root. It needs half a second; a KVM that does not work hangs.
const bootTime = 6 * time.Second

// noRoot is what a kernel says that was given nothing to start.
const noRoot = "Unable to mount root fs"

// Probe runs QEMU to ask for its version, and boots a kernel on KVM to see
// whether that works. What it finds is what Start uses from then on, unless
// Config.Accelerator says otherwise.
func (h *Host) Probe(ctx context.Context) (vm.Ability, error) {
	a := ability()
	version, err := h.version(ctx)
	if ctx.Err() != nil {
		return vm.Ability{}, fmt.Errorf("probe qemu: %w", ctx.Err())
	}
	if err != nil {
		a.Works = false
		a.Why = fmt.Sprintf("QEMU does not run: %v", err)
		a.Fix = "install the package qemu-system-x86, or use the hypervisor uml"
		return a, nil
	}
	a.Version = version
	a.Accelerator = h.config.Accelerator
	if a.Accelerator == "" {
		a.Accelerator, a.Why, a.Fix = h.choose(ctx)
	}
	if ctx.Err() != nil {
		return vm.Ability{}, fmt.Errorf("probe qemu: %w", ctx.Err())
	}
	h.mu.Lock()
	h.accelerator = a.Accelerator
	h.mu.Unlock()
	if a.Why == "" {
		a.Why = "QEMU " + version + " with " + a.Accelerator
	}
	return a, nil
}

// choose returns the accelerator that works, why it is not KVM, and what to do.
func (h *Host) choose(ctx context.Context) (accelerator, why, fix string) {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case os.IsPermission(err):
		return TCG, "emulated: /dev/kvm may not be opened by this user", "add the user to the group kvm"
	case err != nil:
		return TCG, "emulated: " + err.Error(), "load the kernel's kvm module, where the processor has virtualisation"
	}
	f.Close()
	if h.config.ProbeKernel == "" {
		return TCG, "emulated: there is no kernel at hand to try KVM with", ""
	}
	if err := h.boot(ctx); err != nil {
		return TCG, fmt.Sprintf("emulated: /dev/kvm exists but %v", err), "see whether the host allows nested virtualisation"
	}
	return KVM, "", ""
}

// boot starts the probe's kernel on KVM with nothing to run: it works when the
// kernel comes as far as to complain about that.
func (h *Host) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	dir, err := os.MkdirTemp("", "ore-probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	empty := dir + "/initrd"
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		return err
	}
	console := &watcher{seen: cancel}
	m, err := h.start(ctx, vm.Config{
		Name: "probe", Dir: dir, Kernel: h.config.ProbeKernel, Initrd: empty, Console: console,
		Resources: ore.Resources{CPUs: 1, Memory: 256 << 20},
	}, KVM)
	if err != nil {
		return err
	}
	defer m.Home().Close()
	err = m.Wait()
	if console.found() {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("a kernel on it says nothing for %v", bootTime)
	}
	return fmt.Errorf("a kernel on it does not start: %w", err)
}

// watcher waits for noRoot on a console.
type watcher struct {
	seen func()

	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write looks for the words.
func (w *watcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.text.Write(b)
	w.mu.Unlock()
	if w.found() {
		w.seen()
	}
	return len(b), nil
}

func (w *watcher) found() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.text.String(), noRoot)
}

// version asks QEMU for its version.
func (h *Host) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	c := h.command("--version")
	if c.Err != nil {
		return "", c.Err
	}
	cmd := exec.CommandContext(ctx, c.Path)
	cmd.Args, cmd.Env, cmd.Dir = c.Args, c.Env, c.Dir
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(out), "\n")
	v, _, _ := strings.Cut(strings.TrimPrefix(first, "QEMU emulator version "), " ")
	return v, nil
}
