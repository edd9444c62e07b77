package inside

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ore/guest/wire"
)

// files are the two sides of what a command reads and writes.
type files struct {
	theirs  [3]*os.File
	input   *os.File // nil when there is none
	outputs map[wire.Sort]*os.File
	tty     *os.File // the terminal's master, when there is one
}

// openFiles makes pipes, or a terminal.
func openFiles(q wire.Request) (*files, error) {
	f := &files{outputs: make(map[wire.Sort]*os.File)}
	var err error
	if q.TTY != nil {
		err = f.openTerminal(*q.TTY)
	} else {
		err = f.openPipes(q.Input)
	}
	if err != nil {
		f.closeTheirs()
		f.closeOurs()
		f.closeOutputs()
		return nil, fmt.Errorf("open pipes: %w", err)
	}
	return f, nil
}

func (f *files) openPipes(input bool) (err error) {
	if input {
		f.theirs[0], f.input, err = os.Pipe()
	} else {
		f.theirs[0], err = os.Open(os.DevNull)
	}
	for i, k := range []wire.Sort{wire.Stdout, wire.Stderr} {
		if err != nil {
			return err
		}
		var r *os.File
		if r, f.theirs[i+1], err = os.Pipe(); err == nil {
			f.outputs[k] = r
		}
	}
	return err
}

// openTerminal makes a pseudo terminal (pty(7)).
func (f *files) openTerminal(size wire.Size) error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	f.tty, f.input, f.outputs[wire.Stdout] = master, master, master
	var n int
	err = control(master, func(fd int) (err error) {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	})
	if err != nil {
		return err
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	f.theirs = [3]*os.File{slave, slave, slave}
	setSize(master, size)
	return nil
}

// setSize tells a terminal its size; it is for show only, so that an error
// does not matter.
func setSize(tty *os.File, size wire.Size) {
	control(tty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
}

// control calls f with the descriptor without making it a blocking one, as
// [os.File.Fd] would.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// closeTheirs closes what only the command uses.
func (f *files) closeTheirs() {
	for i, x := range f.theirs {
		if x != nil && (i == 0 || x != f.theirs[0]) {
			x.Close()
		}
	}
	f.theirs = [3]*os.File{}
}

// closeOurs closes the input.
func (f *files) closeOurs() {
	if f.input != nil && f.input != f.tty {
		f.input.Close()
	}
}

// closeOutputs is for a command that never ran; else who reads them does it.
func (f *files) closeOutputs() {
	for _, o := range f.outputs {
		o.Close()
	}
}
