package inside

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest/inside/system"
)

// readTime is how long a machine that could not install itself shows why, before
// it boots again: long enough to be read, and to be filmed.
const readTime = 30 * time.Second

// packed is process 1 of a machine that came whole over the network. Its one
// program, `ore netbooted`, gets on the network, installs the machine and goes
// into what it installed, so that it does not come back if all is well. If not,
// home knows why, or will when it hears nothing; the machine boots again, and is
// told there what to do. It does not return.
func packed() {
	m := system.Begin()
	failed, err := m.BootPacked()
	if err == nil {
		failed, err = "program", oneProgram(system.ProgramPath, "netbooted", "--identity", system.ToldPath)
	}
	fmt.Fprintf(os.Stderr, "\nore: this machine could not install itself: %s: %v\nore: it boots again in %v\n", failed, err, readTime)
	time.Sleep(readTime)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	for {
		unix.Pause() // until the machine is gone
	}
}

// oneProgram runs a program on the console, and reaps whatever else ends
// meanwhile: process 1 is every orphan's parent.
func oneProgram(argv ...string) error {
	c := exec.Command(argv[0], argv[1:]...)
	c.Stdin, c.Stdout, c.Stderr, c.Dir = os.Stdin, os.Stdout, os.Stderr, "/root"
	c.Env = []string{"PATH=" + basePath, "HOME=/root", "LANG=C.UTF-8", "TERM=linux"}
	if err := c.Start(); err != nil {
		return err
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for %s: %w", argv[0], err)
		case pid == c.Process.Pid && status.Exited() && status.ExitStatus() == 0:
			return fmt.Errorf("%s ended, and is to go into the next system", argv[0])
		case pid == c.Process.Pid && status.Signaled():
			return fmt.Errorf("%s was ended by %v", argv[0], status.Signal())
		case pid == c.Process.Pid:
			return fmt.Errorf("%s ended with exit code %d", argv[0], status.ExitStatus())
		}
	}
}
