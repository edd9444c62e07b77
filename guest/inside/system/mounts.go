package system

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ore/guest"
)

// mount is one call of mount(2).
type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
	optional             bool // not every kernel has it, and few miss it
}

// Flags as Debian's systemd gives them (its src/shared/mount-setup.c).
const (
	nosuid  = unix.MS_NOSUID
	noexec  = unix.MS_NOEXEC
	nodev   = unix.MS_NODEV
	noatime = unix.MS_NOATIME
)

// do mounts. The folder is made only when it turns out not to be there, which
// in a Debian system and in an initramfs of package boot none is.
func (m mount) do() error {
	err := m.call()
	if errors.Is(err, unix.ENOENT) {
		if err = os.MkdirAll(m.target, 0o755); err == nil {
			err = m.call()
		}
	}
	if errors.Is(err, unix.EBUSY) { // the kernel did it
		return nil
	}
	if err != nil && !m.optional {
		return fmt.Errorf("mount %s on %s: %w", m.kind, m.target, err)
	}
	return nil
}

func (m mount) call() error {
	var words [4]*byte
	for i, w := range []string{m.source, m.target, m.kind, m.options} {
		var err error
		if words[i], err = unix.BytePtrFromString(w); err != nil {
			return err
		}
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_MOUNT, uintptr(unsafe.Pointer(words[0])), uintptr(unsafe.Pointer(words[1])),
		uintptr(unsafe.Pointer(words[2])), m.flags, uintptr(unsafe.Pointer(words[3])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func mountAll(list []mount) error {
	for _, m := range list {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountEarly mounts what the start itself needs.
func mountEarly() error {
	return mountAll([]mount{
		{source: "devtmpfs", target: "/dev", kind: "devtmpfs", flags: nosuid, options: "mode=755"},
		{source: "proc", target: "/proc", kind: "proc", flags: nosuid | noexec | nodev},
		{source: "sysfs", target: "/sys", kind: "sysfs", flags: nosuid | noexec | nodev},
	})
}

// Where things are mounted before the root is switched.
const (
	newRoot  = "/ore/root"
	diskDir  = "/ore/disk"
	layerDir = "/ore/layer"
)

func layerPath(i int) string { return layerDir + strconv.Itoa(i) }

func (b *Machine) mountLayers() error {
	for i := range b.Identity.Layers {
		m := mount{source: b.devices[i], target: layerPath(i), kind: "squashfs", flags: unix.MS_RDONLY | noatime}
		if err := m.do(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

// mountDisk mounts the private disk. It is thrown away with the machine, and
// so is spared all that would keep it whole through a power cut. Without
// noinit_itable a kernel thread would fill the whole sparse file with empty
// inode tables, hundreds of megabytes in each machine (ext4(5)).
func (b *Machine) mountDisk() error {
	if b.Identity.Root != nil {
		return nil // it is no part of an overlay
	}
	m := mount{
		source: b.devices[len(b.devices)-1], target: diskDir, kind: "ext4",
		flags: noatime, options: "noinit_itable,nobarrier,noauto_da_alloc",
	}
	if b.Identity.InMemory {
		m = mount{source: "tmpfs", target: diskDir, kind: "tmpfs", flags: noatime, options: "mode=755"}
	}
	if err := m.do(); err != nil {
		return err
	}
	for _, dir := range []string{"/upper", "/work"} {
		if err := mkdir(diskDir+dir, 0o755); err != nil {
			return fmt.Errorf("make %s on the disk: %w", dir, err)
		}
	}
	return nil
}

// mountOverlay puts the disk over the layers. redirect_dir=on lets programs
// rename folders of layers, which would give EXDEV otherwise; the attribute
// for it stands on the private disk only, never in a layer. volatile spares
// every fsync of the job its way to a disk that is thrown away (the kernel's
// Documentation/filesystems/overlayfs.rst).
func (b *Machine) mountOverlay() error {
	if b.Identity.Root != nil {
		return b.mountRoot()
	}
	var lower []string
	for i := b.Identity.Layers - 1; i >= 0; i-- {
		lower = append(lower, layerPath(i))
	}
	if len(lower) == 0 {
		return errors.New("the identity names no layer")
	}
	options := "lowerdir=" + strings.Join(lower, ":") +
		",upperdir=" + diskDir + "/upper,workdir=" + diskDir + "/work"
	m := mount{source: "overlay", target: newRoot, kind: "overlay", flags: noatime,
		options: options + ",redirect_dir=on,volatile"}
	return m.do()
}

// switchRoot makes the overlay the root of all, with the file systems that
// Debian expects.
func (b *Machine) switchRoot() error {
	err := mountAll([]mount{
		{source: "/dev", target: newRoot + "/dev", flags: unix.MS_MOVE},
		{source: "/proc", target: newRoot + "/proc", flags: unix.MS_MOVE},
		{source: "/sys", target: newRoot + "/sys", flags: unix.MS_MOVE},
		{source: "tmpfs", target: newRoot + "/run", kind: "tmpfs", flags: nosuid | nodev, options: "mode=755,size=50%"},
	})
	if err != nil {
		return err
	}
	if err := b.keepProgram(newRoot + Run); err != nil {
		return err
	}
	if err := b.nameBlobs(newRoot); err != nil {
		return err
	}
	forget()
	if _, err := onPath(unix.SYS_CHDIR, newRoot, 0, 0); err != nil {
		return err
	}
	if err := (mount{source: ".", target: "/", flags: unix.MS_MOVE}).do(); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if _, err := onPath(unix.SYS_CHROOT, ".", 0, 0); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	_, err = onPath(unix.SYS_CHDIR, "/", 0, 0)
	return err
}

// mountModules mounts the kernel's modules where programs look for them, in a
// root without the merged /usr as well; over what a disk has there, whose modules are
// another kernel's.
func (b *Machine) mountModules() error {
	if !b.Identity.Modules {
		return nil
	}
	m := mount{source: b.devices[b.Identity.Layers], target: "/lib/modules", kind: "squashfs", flags: unix.MS_RDONLY | noatime | nosuid | nodev}
	return m.do()
}

// keepProgram makes this program known in the folder bin of run under the names
// that jobs use. It is not copied: a mount of the file in the initramfs costs no
// memory.
func (b *Machine) keepProgram(run string) error {
	bin := run + "/bin"
	for _, dir := range []string{run, bin} {
		if err := mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	program := bin + "/ore-init"
	if err := writeFile(program, ""); err != nil {
		return err
	}
	if err := (mount{source: initProgram, target: program, flags: unix.MS_BIND}).do(); err != nil {
		return fmt.Errorf("keep %s: %w", initProgram, err)
	}
	for _, name := range b.names {
		if err := symlink("ore-init", bin+"/"+name); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

// initProgram is where the kernel found this program in the initramfs.
const initProgram = "/init"

// forget removes the identity, with its token, from the initramfs, which
// nothing can reach any more once the root is another; the modules were removed
// when they were loaded. What remains in memory is this program, which runs from
// there, and empty folders.
func forget() { unlink(guest.IdentityPath) }
