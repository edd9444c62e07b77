package home

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Wire is a home that is ready to be given to a hypervisor's process: the
// host's end, and the files that the process inherits.
type Wire struct {
	Stream *Stream
	Memory *os.File // the shared memory, for /dev/mmapper
	Bell   *os.File // the other end of the bell
}

// NewWire makes the host's end of a home through shared memory. The memory is
// a sealed file without a name (memfd_create(2)), so that the guest cannot
// take pages away from under the host.
func NewWire() (*Wire, error) {
	fd, err := unix.MemfdCreate("ore-home", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("home: memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "home memory")
	w, err := newWire(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("home: %w", err)
	}
	return w, nil
}

func newWire(f *os.File) (*Wire, error) {
	if err := f.Truncate(MemorySize); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal memory: %w", err)
	}
	ours, theirs, err := SocketPair()
	if err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, MemorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		ours.Close()
		theirs.Close()
		return nil, fmt.Errorf("map memory: %w", err)
	}
	s, err := New(Host, memory, ours, func() { unix.Munmap(memory) })
	if err != nil {
		return nil, err
	}
	return &Wire{Stream: s, Memory: f, Bell: theirs}, nil
}

// Inherited closes the files that the hypervisor's process has by now.
func (w *Wire) Inherited() {
	w.Memory.Close()
	w.Bell.Close()
}

// SocketPair makes a stream between us and a child: ours is interrupted by
// Close, theirs is for the child to inherit.
func SocketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "home")
	f := os.NewFile(uintptr(fds[0]), "home")
	defer f.Close()
	ours, err = net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return ours, theirs, nil
}

// FilePath is the path by which a process opens its own descriptor fd anew.
func FilePath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// Conn is our end of a home that is a plain connection. Its other end dies
// with the hypervisor, which may have bytes of ours unread: the host then says
// ECONNRESET for what is a plain end of stream.
type Conn struct{ net.Conn }

// Read returns io.EOF once the machine has ended and all was read.
func (c Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, unix.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}
