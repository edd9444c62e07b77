package system

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options)
	if errors.Is(err, unix.EBUSY) { // the kernel did it
		return nil
	}
	if err != nil && !m.optional {
		return fmt.Errorf("mount %s on %s: %w", m.kind, m.target, err)
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
	m := mount{
		source: b.devices[len(b.devices)-1], target: diskDir, kind: "ext4",
		flags: noatime, options: "noinit_itable,nobarrier,noauto_da_alloc",
	}
	if err := m.do(); err != nil {
		return err
	}
	for _, dir := range []string{"/upper", "/work"} {
		if err := os.Mkdir(diskDir+dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
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
// Debian expects, and leaves of the initramfs only this program.
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
	if err := b.keepProgram(newRoot + Run + "/bin"); err != nil {
		return err
	}
	if b.Identity.Modules {
		dir := newRoot + "/lib/modules"
		if real, err := os.Readlink(newRoot + "/lib"); err == nil { // merged /usr
			dir = filepath.Join(newRoot, filepath.Join("/", real), "modules")
		}
		m := mount{source: inRoot(b.devices[b.Identity.Layers]), target: dir, kind: "squashfs", flags: unix.MS_RDONLY | noatime | nosuid | nodev}
		if err := m.do(); err != nil {
			return fmt.Errorf("modules: %w", err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	emptyInitramfs()
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

// inRoot is where a device is while /dev has moved and the root has not.
func inRoot(device string) string { return newRoot + device }

// keepProgram makes this program known under the names that jobs use. It is
// not copied: a mount of the file in the initramfs costs no memory.
func (b *Machine) keepProgram(bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	program := filepath.Join(bin, "ore-init")
	f, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(initProgram, program, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep %s: %w", initProgram, err)
	}
	for _, name := range b.names {
		err := os.Symlink(filepath.Base(program), filepath.Join(bin, name))
		if err != nil {
			return err
		}
	}
	return nil
}

// initProgram is where the kernel found this program in the initramfs.
const initProgram = "/init"

// emptyInitramfs removes all from the initramfs, which is memory, but this
// program: it runs from there. It must not leave that file system.
func emptyInitramfs() {
	var st unix.Stat_t
	if unix.Lstat("/", &st) == nil {
		removeWithin("/", st.Dev)
	}
}

func removeWithin(dir string, dev uint64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		var st unix.Stat_t
		if path == initProgram || unix.Lstat(path, &st) != nil || st.Dev != dev {
			continue
		}
		if e.IsDir() {
			removeWithin(path, dev)
		}
		os.Remove(path)
	}
}
