package inside

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
func (b *boot) findDevices() error {
	n := b.identity.Layers + 1
	if b.identity.Modules {
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

// homePort is the name of the virtio-serial port that drivers open.
const homePort = "ore.home"

// umlHome is the serial line that UML's driver opens.
const umlHome = "/dev/ttyS1"

// openHome opens the byte stream to the host.
func openHome() (*os.File, error) {
	if isUML() {
		return openSerial(umlHome)
	}
	var dev string
	err := await("port "+homePort, func() bool {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, file := range names {
			b, _ := os.ReadFile(file)
			if strings.TrimSpace(string(b)) == homePort {
				dev = "/dev/" + filepath.Base(filepath.Dir(file))
				_, err := os.Stat(dev)
				return err == nil
			}
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	return f, nil
}

// isUML tells User Mode Linux by what it says of its processor.
func isUML() bool {
	b, _ := os.ReadFile("/proc/cpuinfo")
	return strings.Contains(string(b), "User Mode Linux")
}

// openSerial opens a serial line for bytes as they are: no echo, no signals,
// no translation (termios(3), cfmakeraw).
func openSerial(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open home: %w", err)
	}
	err = control(f, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.CLOCAL
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open home: %w", err)
	}
	return f, nil
}
