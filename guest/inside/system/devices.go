package system

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unsafe"

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

// loadModules loads the modules that the initramfs lists, in that order, and
// removes them from it.
func loadModules() error {
	list, err := readFile(guest.ModulesPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel that has all built in
	}
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(list)) {
		if err := loadModule(name); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		if err := unlink(name); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	fd, err := open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer closeFD(fd)
	var none [1]byte // no parameters
	_, _, errno := unix.RawSyscall(unix.SYS_FINIT_MODULE, uintptr(fd), uintptr(unsafe.Pointer(&none)), 0)
	// A driver without its device is none of our business: the device is
	// looked for later.
	if errno == 0 || errno == unix.EEXIST || errno == unix.ENODEV {
		return nil
	}
	return errno
}

// findDevices finds the block devices that the driver gave the machine: those
// of User Mode Linux, or those of virtio.
func (b *Machine) findDevices() error {
	n := b.Identity.Layers + len(b.Identity.Mounts) + len(b.Identity.Blobs) + 1
	if b.Identity.Modules {
		n++
	}
	if n > maxDevices {
		return fmt.Errorf("%d block devices: at most %d are looked for", n, maxDevices)
	}
	return await(fmt.Sprintf("%d block devices", n), func() bool {
		for _, kind := range []string{"/dev/ubd", "/dev/vd"} {
			// They appear in their order.
			if exists(kind + letter(n-1)) {
				b.devices = nil
				for i := range n {
					b.devices = append(b.devices, kind+letter(i))
				}
				return true
			}
		}
		return false
	})
}

// maxDevices is how many there are letters for.
const maxDevices = 26

func letter(i int) string { return string(rune('a' + i)) }
