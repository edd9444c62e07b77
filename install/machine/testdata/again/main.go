// Again is the first process of a machine that starts again and again, each time
// in the next of the ways that it was told, and says so on its console: a test
// compares what they take.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"ore/install/restart"
)

// plan is what the test puts beside the program.
type plan struct {
	Device string // which the root is on
	FS     string
	Ways   []string // "firmware" or "kexec", in order
	Next   restart.Next
}

func main() {
	if err := again(); err != nil {
		say("fails: %v", err)
	}
	say("ends")
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		say("fails: %v", err)
	}
	select {}
}

// say waits until the line is out: what comes next may be the end of this kernel.
func say(format string, args ...any) {
	fmt.Printf("again: "+format+"\n", args...)
	// tcdrain(3); a console that cannot be waited for has said it by then.
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
}

func again() error {
	say("is up")
	for at, kind := range map[string]string{"/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs"} {
		if err := errors.Join(os.MkdirAll(at, 0o755), unix.Mount(kind, at, kind, 0, "")); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	b, err := os.ReadFile("/again.json")
	if err != nil {
		return err
	}
	var p plan
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	for _, m := range []string{"virtio_pci", "virtio_blk", p.FS} {
		if out, err := exec.Command("/sbin/modprobe", m).CombinedOutput(); err != nil {
			return fmt.Errorf("modprobe %s: %w: %s", m, err, out)
		}
	}
	const root = "/disk"
	if err := errors.Join(os.MkdirAll(root, 0o755), unix.Mount(p.Device, root, p.FS, 0, "")); err != nil {
		return fmt.Errorf("mount %s: %w", p.Device, err)
	}
	done, err := os.ReadFile(root + "/again")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n := strings.Count(string(done), "\n")
	if n == len(p.Ways) {
		return unix.Unmount(root, 0)
	}
	if err := os.WriteFile(root+"/again", append(done, p.Ways[n]+"\n"...), 0o644); err != nil {
		return err
	}
	say("loads")
	if p.Ways[n] == "kexec" {
		if err := restart.Load(p.Next); err != nil {
			return err
		}
	}
	if err := unix.Unmount(root, 0); err != nil {
		return err
	}
	say("leaves")
	if p.Ways[n] == "kexec" {
		return restart.Kexec()
	}
	return restart.Reboot()
}
