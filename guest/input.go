package guest

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Input is a file, such as standard input, as a command's [Command.Stdin]. A read
// of it can be stopped, which os.Stdin's cannot: once the command has ended it is
// not read any further, and what it holds stays for whoever shares it.
type Input struct {
	file *os.File
	stop int // eventfd(2): readable once a read is to stop
}

// NewInput returns f as an input.
func NewInput(f *os.File) (*Input, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	return &Input{file: f, stop: fd}, nil
}

// Close gives up what NewInput made; the file itself stays open.
func (i *Input) Close() error { return unix.Close(i.stop) }

// Read waits for input or for the word to stop.
func (i *Input) Read(p []byte) (int, error) {
	fd := int(i.file.Fd())
	for {
		wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(i.stop), Events: unix.POLLIN}}
		if _, err := unix.Poll(wait, -1); err != nil && err != unix.EINTR {
			return 0, err
		}
		if wait[1].Revents != 0 {
			return 0, os.ErrDeadlineExceeded
		}
		if wait[0].Revents == 0 {
			continue
		}
		n, err := unix.Read(fd, p)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// SetReadDeadline knows two times, as wire.Stream does: the zero time for none,
// and any other for the present.
func (i *Input) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		var b [8]byte
		if _, err := unix.Read(i.stop, b[:]); err != nil && err != unix.EAGAIN {
			return err
		}
		return nil
	}
	_, err := unix.Write(i.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}

// Seek moves in a file that can be moved in; others refuse it.
func (i *Input) Seek(offset int64, whence int) (int64, error) { return i.file.Seek(offset, whence) }
