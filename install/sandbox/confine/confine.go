// Package confine takes from the programs of a sandbox what reaches beyond their
// tree.
//
// A program in a tree of tier Root is the host's root by its number. What makes
// it more than an owner of files is taken from it: capabilities that reach beyond
// the tree, what the kernel can be told under /proc, and devices that it makes.
// In the other tiers the kernel would refuse most of it; there the same is done,
// so that a script finds the same in all tiers.
package confine

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// kept are the capabilities (capabilities(7)) with which packages are installed
// and steps work on a tree: on files whoever owns them, on users, and on programs
// that are given some themselves. Not among them is what mounts, loads modules,
// traces others, sets the clock or the network or reaches hardware.
func kept() []int {
	return []int{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_MKNOD, unix.CAP_SETFCAP,
		unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_KILL, unix.CAP_SYS_CHROOT,
		unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW, unix.CAP_AUDIT_WRITE,
	}
}

// mostCapabilities is more than a kernel can know: they are bits of 64.
const mostCapabilities = 64

// DropCapabilities takes all others out of the calling thread's bounding set,
// so that no program that it starts has them, not even as root.
func DropCapabilities() error {
	keep := kept()
	for n := range mostCapabilities {
		if slices.Contains(keep, n) {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // one more than this kernel knows
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", n, err)
		}
	}
	return nil
}

// ProtectProc makes what can be told to the kernel in /proc unchangeable.
func ProtectProc(proc string) error {
	for _, name := range []string{"bus", "fs", "irq", "sys", "sysrq-trigger"} {
		p := filepath.Join(proc, name)
		if err := unix.Mount(p, p, "", unix.MS_BIND|unix.MS_REC, ""); errors.Is(err, unix.ENOENT) {
			continue // not every kernel has them all
		} else if err != nil {
			return fmt.Errorf("protect %s: %w", p, err)
		}
		if err := Restrict(p, unix.MS_RDONLY); err != nil {
			return err
		}
	}
	return nil
}

// Restrict adds flags to those of the mount at path.
func Restrict(path string, flags uintptr) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return fmt.Errorf("restrict %s: %w", path, err)
	}
	// The names for statfs(2) and mount(2) have the same values.
	const same = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME
	flags |= uintptr(st.Flags) & same
	if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
		return fmt.Errorf("restrict %s: %w", path, err)
	}
	return nil
}
