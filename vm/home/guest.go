package home

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PortName is the name of the virtio-serial port that is home.
const PortName = "ore.home"

// Paths of the devices, in a guest whose /dev is a devtmpfs and whose /sys is
// mounted.
const (
	sharedPath = "/dev/mmapper"
	bellPath   = "/dev/ttyS1"
	portNames  = "/sys/class/virtio-ports/*/name"
)

// portTime is how long a virtio port may take to appear after its driver was
// loaded: a fraction of a second, and on an emulated CPU that 15 other
// machines want too, some seconds.
const portTime = 30 * time.Second

// portPause is the time between two looks for the port.
const portPause = time.Millisecond

// Open opens home inside a guest. /dev (devtmpfs) and /sys must be mounted and
// the driver virtio_console loaded, where there is virtio. Home is opened once;
// a first process that replaces itself (execve) may open it once more, and the
// stream goes on where it was.
func Open() (io.ReadWriteCloser, error) {
	_, err := os.Stat(sharedPath)
	if err == nil {
		return openShared()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("home: %w", err)
	}
	return openPort()
}

// openShared opens home in User Mode Linux.
func openShared() (io.ReadWriteCloser, error) {
	f, err := os.OpenFile(sharedPath, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, MemorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("home: map %s: %w", sharedPath, err)
	}
	bell, err := openRaw(bellPath)
	if err != nil {
		unix.Munmap(memory)
		return nil, fmt.Errorf("home: %w", err)
	}
	return New(Guest, memory, bell, func() { unix.Munmap(memory) })
}

// openRaw opens a terminal and makes it pass bytes as they are.
func openRaw(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B38400}
	raw.Cc[unix.VMIN] = 1
	c, err := f.SyscallConn()
	if err == nil {
		// Not by f.Fd(), which would make reads ones that Close cannot end.
		control := c.Control(func(fd uintptr) { err = unix.IoctlSetTermios(int(fd), unix.TCSETS, &raw) })
		err = errors.Join(err, control)
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "set raw", Path: path, Err: err}
	}
	return f, nil
}

// openPort opens home in a hypervisor that has virtio.
func openPort() (io.ReadWriteCloser, error) {
	for end := time.Now().Add(portTime); time.Now().Before(end); time.Sleep(portPause) {
		names, err := filepath.Glob(portNames)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			b, err := os.ReadFile(n)
			if err != nil || strings.TrimSpace(string(b)) != PortName {
				continue // a port without a name, or one that has just gone
			}
			path := "/dev/" + filepath.Base(filepath.Dir(n))
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				return f, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("home: %w", err)
			}
		}
	}
	return nil, fmt.Errorf("home: neither %s nor a virtio port %s within %v", sharedPath, PortName, portTime)
}
