package system

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest"
)

const (
	// deviceWait is how long devices may take to appear after their drivers
	// were loaded. Sixteen machines that start on two cores need seconds.
	deviceWait = 60 * time.Second
	// devicePoll is how often is looked; the drivers at hand need one look.
	devicePoll = 2 * time.Millisecond
)

// await calls ready until it says true.
func await(what string, ready func() bool) error {
	deadline := time.Now().Add(deviceWait)
	for !ready() {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s did not appear in %v", what, deviceWait)
		}
		time.Sleep(devicePoll)
	}
	return nil
}

// loadModules loads the modules that the initramfs lists, in that order.
func loadModules() error {
	f, err := os.Open(guest.ModulesPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel that has all built in
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name := strings.TrimSpace(s.Text()); name != "" && name[0] != '#' {
			if err := loadModule(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	// A driver without its device is none of our business: the device is
	// looked for later.
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// findDevices finds the block devices that the driver gave the machine.
func (b *Machine) findDevices() error {
	n := b.Identity.Layers + 1
	if b.Identity.Modules {
		n++
	}
	return await(fmt.Sprintf("%d block devices", n), func() bool {
		b.devices = blockDevices()
		return len(b.devices) >= n
	})
}

// blockDevices lists UML's and virtio's disks in their order.
func blockDevices() []string {
	for _, pattern := range []string{"ubd?", "vd?"} {
		found, _ := filepath.Glob("/dev/" + pattern)
		if len(found) > 0 {
			slices.Sort(found)
			return found
		}
	}
	return nil
}
