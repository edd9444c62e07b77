package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"ore/guest"
)

// A root on a disk is mounted here if that takes no more than the kernel: a
// partition with ext4. What lies on volumes or arrays, or is of another kind, is
// found by the programs that also made it: the layers are then those of the
// installer, in which mdadm, lvm and mount run, before the root is another. If
// /usr is a file system of its own it is mounted in the same way, as Debian's
// initramfs does: /bin and /lib lead there, and with them mount itself.

// toolsRoot is where tools have their root, and toolsTarget where they mount
// what is to be ours.
const (
	toolsRoot   = "/ore/tools"
	toolsTarget = "/mnt"
)

// mountRoot mounts the root from the machine's disk.
func (b *Machine) mountRoot() error {
	r := b.Identity.Root
	if r.Tools() {
		return b.mountWithTools()
	}
	list := rootMounts(b.devices[len(b.devices)-1], r)
	for _, m := range list {
		if err := await(m.source, func() bool { return exists(m.source) }); err != nil {
			return err
		}
	}
	return mountAll(list)
}

// rootMounts are the mounts of a root that takes no tools, from its disk.
func rootMounts(disk string, r *guest.Root) []mount {
	list := []mount{{source: partition(disk, r.Part), target: newRoot, kind: r.FS, flags: noatime}}
	if u := r.Usr; u != nil {
		list = append(list, mount{source: partition(disk, u.Part), target: newRoot + "/usr", kind: u.FS, flags: noatime})
	}
	return list
}

// partition names a partition of a disk as the kernel does, with a p where the
// disk's name ends in a digit.
func partition(disk string, n int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		disk += "p"
	}
	return disk + strconv.Itoa(n)
}

// mountWithTools mounts the root by way of the installer's programs.
func (b *Machine) mountWithTools() error {
	if err := b.mountTools(); err != nil {
		return err
	}
	if m := b.Identity.Root.Modules; len(m) > 0 {
		// What a kernel has built in, or not at all, is no fault: mount says
		// what is missing. The console has modprobe's words.
		_ = run(toolsRoot, append([]string{"/sbin/modprobe", "-a"}, m...)...)
	}
	for _, args := range b.toolCalls() {
		if err := run(toolsRoot, args...); err != nil {
			return err
		}
	}
	if err := (mount{source: toolsRoot + toolsTarget, target: newRoot, flags: unix.MS_MOVE}).do(); err != nil {
		return err
	}
	return unix.Unmount(toolsRoot, unix.MNT_DETACH)
}

// toolCalls are the commands that find and mount the root. Without udev, which
// does not run, lvm and dmsetup make the devices themselves.
func (b *Machine) toolCalls() [][]string {
	r := b.Identity.Root
	var calls [][]string
	if r.Arrays {
		calls = append(calls, []string{"/sbin/mdadm", "--assemble", "--scan", "--no-degraded"})
	}
	if r.Volumes {
		calls = append(calls, []string{"/sbin/vgchange", "--activate", "y", "--config", "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}"})
	}
	calls = append(calls, mountCall(r.FileSystem, toolsTarget))
	if r.Usr != nil {
		calls = append(calls, mountCall(*r.Usr, toolsTarget+"/usr"))
	}
	return calls
}

// mountCall is the command that mounts a file system.
func mountCall(f guest.FileSystem, target string) []string {
	return []string{"/bin/mount", "-t", f.FS, "-o", "noatime", "UUID=" + f.UUID, target}
}

// mountTools mounts the layers as the root of tools, which write to memory alone.
func (b *Machine) mountTools() error {
	var lower []string
	for i := b.Identity.Layers - 1; i >= 0; i-- {
		lower = append(lower, layerPath(i))
	}
	if len(lower) == 0 {
		return errors.New("the identity names no layer with the tools that the root needs")
	}
	err := mountAll([]mount{{source: "tmpfs", target: diskDir, kind: "tmpfs", options: "mode=755"}})
	if err != nil {
		return err
	}
	for _, dir := range []string{"/upper", "/work"} {
		if err := mkdir(diskDir+dir, 0o755); err != nil {
			return err
		}
	}
	list := []mount{
		{source: "overlay", target: toolsRoot, kind: "overlay", flags: noatime,
			options: "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + diskDir + "/upper,workdir=" + diskDir + "/work"},
		{source: "devtmpfs", target: toolsRoot + "/dev", kind: "devtmpfs", flags: nosuid},
		{source: "proc", target: toolsRoot + "/proc", kind: "proc", flags: nosuid | noexec | nodev},
		{source: "sysfs", target: toolsRoot + "/sys", kind: "sysfs", flags: nosuid | noexec | nodev},
		{source: "tmpfs", target: toolsRoot + "/run", kind: "tmpfs", flags: nosuid | nodev, options: "mode=755"},
	}
	if b.Identity.Modules {
		list = append(list, mount{source: b.devices[b.Identity.Layers], target: toolsRoot + "/lib/modules", kind: "squashfs", flags: unix.MS_RDONLY})
	}
	return mountAll(list)
}

// run runs a program to its end in the root folder root; what it says goes to
// the console. Nothing else waits for children as long as the start goes on.
func run(root string, args ...string) error {
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Chroot: root},
	}
	pid, err := syscall.ForkExec(args[0], args, attr)
	if err != nil {
		return fmt.Errorf("run %s: %w", args[0], err)
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && (!status.Exited() || status.ExitStatus() != 0) {
			err = fmt.Errorf("exit code %d: the console shows what it said", status.ExitStatus())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
		return nil
	}
}

// mountMore mounts what else the fstab(5) of a root on disk has, and swaps to
// what it says, as any first process does; with the system's own programs, which
// are in every Debian base.
func (b *Machine) mountMore() error {
	if b.Identity.Root == nil || !b.Identity.Root.More {
		return nil
	}
	if err := run("/", "/bin/mount", "-a"); err != nil {
		return err
	}
	return run("/", "/sbin/swapon", "-a")
}

// nameBlobs gives devices that nothing is mounted from their names, below root.
func (b *Machine) nameBlobs(root string) error {
	if !b.Identity.InMemory {
		return nil
	}
	dir, disk := root+guest.BlobsPath, root+guest.DiskPath
	for _, d := range []string{dir, filepath.Dir(disk)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := symlink(b.devices[len(b.devices)-1], disk); err != nil {
		return fmt.Errorf("name the disk: %w", err)
	}
	first := b.Identity.Layers + len(b.Identity.Mounts)
	if b.Identity.Modules {
		first++
	}
	for i, name := range b.Identity.Blobs {
		if strings.Contains(name, "/") {
			return fmt.Errorf("blob %q: not a name", name)
		}
		if err := symlink(b.devices[first+i], dir+"/"+name); err != nil {
			return fmt.Errorf("name blob %s: %w", name, err)
		}
	}
	return nil
}
