// Package restart ends a system for the next one: an installer's for the one
// that it installed.
//
// Kexec goes straight into another kernel, without firmware and boot loader
// (kexec_file_load(2), reboot(2)). It takes two steps: [Load] reads kernel and
// initramfs into memory, from a file system that is then unmounted, and [Kexec]
// goes there. Not every kernel can: User Mode Linux has no such call, since what
// it runs on is a process, and a kernel that is locked down takes signed ones
// only. [Possible] says so before anything is tried; [Reboot] is then what remains.
//
// What is measured (on QEMU, emulated): loading takes a second, since the kernel
// hashes what it is given and checks that again on its way; the way through a
// BIOS and GRUB takes some seconds longer than kexec does.
package restart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoKexec is a kernel that cannot go into another one: it restarts through the
// firmware and the boot loader.
var ErrNoKexec = errors.New("this kernel has no kexec")

// maxArguments is COMMAND_LINE_SIZE of x86 with its end (the kernel's
// arch/x86/include/asm/setup.h): a longer line would be cut.
const maxArguments = 2048

// Next is a system to go into.
type Next struct {
	Kernel    string // path of a bzImage
	Initrd    string // path of its initramfs; "" for none
	Arguments string // of the kernel
}

// Possible says whether the running kernel has kexec: nil, or an error that is
// ErrNoKexec and says why.
func Possible() error { return possible("/") }

func possible(root string) error {
	// The kernel has the file if it has any kexec at all (kernel/ksysfs.c).
	if _, err := os.Stat(filepath.Join(root, "sys/kernel/kexec_loaded")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return ErrNoKexec
		}
		return fmt.Errorf("look for kexec: %w", err)
	}
	disabled, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/kexec_load_disabled"))
	if err == nil && strings.TrimSpace(string(disabled)) == "1" {
		return fmt.Errorf("%w: it was switched off (kernel.kexec_load_disabled)", ErrNoKexec)
	}
	return nil
}

// Load reads the next system into memory. Its files are not needed any more
// when it returns.
func Load(n Next) error {
	if err := load(n); err != nil {
		return fmt.Errorf("load %s: %w", n.Kernel, err)
	}
	return nil
}

func load(n Next) error {
	arguments, err := unix.ByteSliceFromString(n.Arguments)
	if err != nil || len(arguments) > maxArguments {
		return fmt.Errorf("kernel arguments of %d bytes: use fewer than %d, and no NUL", len(n.Arguments), maxArguments)
	}
	kernel, err := os.Open(n.Kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	initrd, flags := -1, unix.KEXEC_FILE_NO_INITRAMFS
	if n.Initrd != "" {
		f, err := os.Open(n.Initrd)
		if err != nil {
			return err
		}
		defer f.Close()
		initrd, flags = int(f.Fd()), 0
	}
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_FILE_LOAD, kernel.Fd(), uintptr(initrd), uintptr(len(arguments)),
		uintptr(unsafe.Pointer(&arguments[0])), uintptr(flags), 0)
	return why(errno)
}

// why puts the kernel's refusals into words.
func why(errno unix.Errno) error {
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS:
		return fmt.Errorf("%w (%w)", ErrNoKexec, errno)
	case unix.EPERM:
		return fmt.Errorf("%w: %w: it is not root's here, or the kernel is locked down", ErrNoKexec, errno)
	case unix.ENOEXEC:
		return fmt.Errorf("%w: it is no kernel that this one can start", errno)
	case unix.EKEYREJECTED, unix.ENOKEY, unix.ENODATA:
		return fmt.Errorf("%w: %w: this kernel takes signed ones only", ErrNoKexec, errno)
	case unix.EADDRNOTAVAIL, unix.ENOMEM:
		return fmt.Errorf("%w: there is too little memory for the next kernel beside this one", errno)
	}
	return errno
}

// Kexec goes into what was loaded, at once: whatever is to last has been
// unmounted, or brought to the disk, by the caller. It returns only an error.
func Kexec() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC); err != nil {
		return fmt.Errorf("kexec: %w: nothing is loaded, or this kernel has none", err)
	}
	return nil
}

// Reboot restarts the machine through its firmware, at once. It returns only an
// error.
func Reboot() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("restart: %w: only root of the machine itself may do that", err)
	}
	return nil
}
