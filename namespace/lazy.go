package namespace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mountLazy mounts a file system on dir that the holder of the device serves. It
// returns nil where the host refuses that: a folder of this kind is a convenience,
// and who started this process sees that there is none.
func mountLazy(dir string) *os.File {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	// Without allow_other only processes of this user see it (mount.fuse(8)).
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d", device.Fd(), os.Getuid(), os.Getgid())
	if err := unix.Mount("ore", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, options); err != nil {
		device.Close()
		return nil
	}
	return device
}

// ready tells the starter that the new process is what it should be, and hands
// the device over, if there is one.
func ready(lifeline int, device *os.File) error {
	if device == nil {
		_, err := unix.Write(lifeline, []byte{'\n'})
		return err
	}
	defer device.Close()
	return unix.Sendmsg(lifeline, []byte{'\n'}, unix.UnixRights(int(device.Fd())), nil, 0)
}

// hear returns what the new process says of itself, one line without its end, and
// keeps the descriptor that may come with it.
func (p *Process) hear() (string, error) {
	var line strings.Builder
	for line.Len() < reportLimit {
		text, rights := make([]byte, reportLimit), make([]byte, unix.CmsgSpace(4))
		n, k, _, _, err := unix.Recvmsg(int(p.lifeline.Fd()), text, rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			return "", err
		}
		if err := p.receive(rights[:k]); err != nil {
			return "", err
		}
		said, end, found := strings.Cut(string(text[:n]), "\n")
		line.WriteString(said)
		if found && end == "" {
			return line.String(), nil
		}
	}
	return "", errors.New("the new process says too much of itself")
}

// receive takes the device out of a control message.
func (p *Process) receive(rights []byte) error {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return err
		}
		for _, fd := range fds {
			p.device = os.NewFile(uintptr(fd), "/dev/fuse")
		}
	}
	return nil
}
