package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
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

// bootWork is the processor's time in which a kernel would have come that far in
// any case. A silent one that had less may have been kept waiting by others.
const bootWork = 3 * time.Second

// errBusy is why nothing is known of a KVM on which a kernel said nothing.
var errBusy = errors.New("the host may have been too busy to tell")

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
		h.choose(ctx, &a)
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

// choose finds the accelerator that works, why it is not KVM, and what to do.
func (h *Host) choose(ctx context.Context, a *vm.Ability) {
	a.Accelerator = TCG
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case os.IsPermission(err):
		a.Why, a.Fix = "emulated: /dev/kvm may not be opened by this user", "add the user to the group kvm"
		return
	case err != nil:
		a.Why, a.Fix = "emulated: "+err.Error(), "load the kernel's kvm module, where the processor has virtualisation"
		return
	}
	f.Close()
	if h.config.ProbeKernel == "" {
		a.Why = "emulated: there is no kernel at hand to try KVM with"
		return
	}
	if err := h.boot(ctx, bootTime); err != nil {
		a.Why, a.Fix = fmt.Sprintf("emulated: /dev/kvm exists but %v", err), "see whether the host allows nested virtualisation"
		a.Unsure = errors.Is(err, errBusy)
		return
	}
	a.Accelerator = KVM
}

// boot starts the probe's kernel on KVM with nothing to run: it works when the
// kernel comes as far as to complain about that.
func (h *Host) boot(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
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
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-m.Done():
	case <-late.C:
		work := processorTime(m.Pid())
		cancel()
		<-m.Done()
		if !console.found() {
			return silent(limit, work)
		}
	}
	err = m.Wait()
	if console.found() {
		return nil
	}
	return fmt.Errorf("a kernel on it does not start: %w", err)
}

// silent is what is wrong when a kernel said nothing in all the time it had,
// of which it worked for some.
func silent(limit, work time.Duration) error {
	err := fmt.Errorf("a kernel on it says nothing for %v", limit)
	if work < bootWork {
		err = fmt.Errorf("%w: %w", err, errBusy)
	}
	return err
}

// processorTime returns how long a process has run, its guest included; 0 if it
// is gone (proc(5), the fields utime and stime of stat, in hundredths).
func processorTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // a name may hold anything
	var ticks int64
	for _, i := range []int{11, 12} { // the fields 14 and 15, of which two are before
		if i < len(fields) {
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100)
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
