// Package drivers loads the modules of a machine's devices, where no udev does.
//
// The kernel shows for each device what it is called, as modprobe(8) knows it
// (Documentation/ABI/testing/sysfs-devices: modalias). A driver that is loaded may
// show further devices: a controller its disks, a PCI function the virtio device
// behind it. So the kernel is looked at again, until nothing new is there.
package drivers

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// depth is how often new devices may appear behind new ones: a controller, a hub,
// a bridge, a disk.
const depth = 4

// Command runs a program and returns what it said.
type Command func(ctx context.Context, argv []string) ([]byte, error)

// Load loads what the devices below root ask for, with the modprobe that run
// finds; nil is that of PATH. What has no module, or is built in, needs none: so
// nothing here fails, and what lacks shows as a disk or a card that is not found.
func Load(ctx context.Context, root string, run Command) {
	tried := map[string]bool{}
	for range depth {
		fresh := aliases(root, tried)
		if len(fresh) == 0 {
			return
		}
		Named(ctx, run, fresh...)
	}
}

// Named loads modules by names or aliases, those that there are.
func Named(ctx context.Context, run Command, names ...string) {
	if run == nil {
		run = program
	}
	// Without -q modprobe would say of each device without a module that it has none.
	_, _ = run(ctx, append([]string{"modprobe", "-a", "-b", "-q", "--"}, names...))
}

func program(ctx context.Context, argv []string) ([]byte, error) {
	return exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
}

// aliases returns what devices ask for and was not tried before.
func aliases(root string, tried map[string]bool) []string {
	var fresh []string
	_ = filepath.WalkDir(filepath.Join(root, "sys/devices"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "modalias" {
			return nil // a device may go while it is looked at
		}
		b, _ := os.ReadFile(p)
		if a := strings.TrimSpace(string(b)); a != "" && !tried[a] {
			tried[a] = true
			fresh = append(fresh, a)
		}
		return nil
	})
	return fresh
}
