package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
)

// The files of a packed machine in its initramfs: all are squashfs.
const (
	packedLayer   = "ore/packed/layer0" // more could follow, with higher numbers
	packedModules = "ore/packed/modules"
	packedProgram = "ore/packed/program"
)

// Packed is a machine that brings all that it is in one initramfs: for hardware
// that nothing can be given but a kernel and a file, as a network boot does. The
// initramfs is that of ore-init (see the package's comment), and in it
//
//	/ore/packed/layer0    the layers of an image, as one and without what nobody misses
//	/ore/packed/modules   the kernel's modules for disks, cards and file systems
//	/ore/packed/program   an input that is a file: the program to be run
//
// all of them squashfs, which ore-init mounts from there. They are compressed in
// themselves, and better than layers on a host are, so the archive is not
// compressed once more.
type Packed struct {
	Kernel, Initramfs             string     // host paths
	KernelDigest, InitramfsDigest ore.Digest // of what is there
	Parts                         []Part     // what a machine loads, the kernel first
}

// Part is a part of what a packed machine loads, and why it is there.
type Part struct {
	Name string
	Size int64
	Why  string
}

// Content is what a packed machine is made of; the paths are of squashfs files
// that never change.
type Content struct {
	Layers  []string // of the image, lowest first
	Program string
}

// packedEarly are the modules that a packed machine needs to get at all others.
func packedEarly() []wanted {
	return []wanted{{"loop", true}, {"squashfs", true}, {"overlay", true}}
}

// carried are the folders, below a kernel's own, of modules that a machine may
// need to find its disks and its network, and to make and mount file systems.
// What these depend on comes along. What is left out is sound, video, radio,
// cameras, and file systems of others: three quarters of a distribution's kernel.
func carried() []string {
	return []string{
		"drivers/ata/", "drivers/block/", "drivers/nvme/host/", "drivers/scsi/", "drivers/message/", "drivers/mmc/", "drivers/md/",
		"drivers/nvdimm/", "drivers/virtio/", "drivers/xen/", "drivers/hv/", "drivers/char/hw_random/",
		"drivers/usb/host/", "drivers/usb/storage/", "drivers/pci/controller/",
		"drivers/net/ethernet/", "drivers/net/phy/", "drivers/net/mdio/", "drivers/net/usb/", "drivers/net/hyperv/", "drivers/net/vmxnet3/",
		"drivers/net/virtio_net.", "drivers/net/xen-netfront.", "drivers/net/net_failover.",
		"fs/ext4/", "fs/xfs/", "fs/btrfs/", "fs/fat/", "fs/nls/", "fs/overlayfs/", "fs/squashfs/", "crypto/", "arch/x86/crypto/", "lib/crypto/",
	}
}

// isCarried says whether the module in a file, as /lib/modules/VERSION has it, is
// one of them.
func isCarried(file string) bool {
	for _, prefix := range carried() {
		if strings.HasPrefix(file, "kernel/"+prefix) {
			return true
		}
	}
	return false
}

// Pack makes a packed machine with the kernel of b, or finds it.
func (b *Boot) Pack(ctx context.Context, c Content) (Packed, error) {
	p, err := b.pack(ctx, c)
	if err != nil {
		return Packed{}, fmt.Errorf("boot: pack a machine: %w", err)
	}
	return p, nil
}

func (b *Boot) pack(ctx context.Context, c Content) (p Packed, err error) {
	early, err := b.initramfs(packedEarly())
	if err != nil {
		return p, err
	}
	modules, err := b.carriedModules(ctx)
	if err != nil {
		return p, err
	}
	program, err := b.slimLayer(ctx, []string{c.Program}, nil)
	if err != nil {
		return p, err
	}
	image, err := b.slimLayer(ctx, c.Layers, unneeded())
	if err != nil {
		return p, err
	}
	parts := []packedPart{
		{Part{Name: "kernel", Why: "of the package " + b.Kernel.Package.Name + ": runs on any hardware that Debian runs on"}, "", b.Kernel.Path},
		{Part{Name: "ore-init", Why: "process 1, and the modules loop, squashfs and overlay, by which it gets at all others"}, "", early},
		{Part{Name: "modules", Why: "drivers of disks and network cards, and file systems"}, packedModules, modules},
		{Part{Name: "program", Why: "ore itself, which installs"}, packedProgram, program},
		{Part{Name: "image", Why: "the installer's: what makes file systems, arrays and volumes, and what packages are installed with"}, packedLayer, image},
	}
	words := []string{early}
	for i := range parts {
		info, err := os.Stat(parts[i].path)
		if err != nil {
			return p, err
		}
		parts[i].Size = info.Size()
		p.Parts = append(p.Parts, parts[i].Part)
		words = append(words, parts[i].path)
	}
	p.Kernel, p.Initramfs = b.Kernel.Path, b.made("packed", ".cpio", words...)
	if err := b.make(p.Initramfs, func(f *os.File) error { return join(ctx, f, parts[1:]) }); err != nil {
		return p, err
	}
	p.KernelDigest = readProof(b.made("kernel", proofSuffix, b.Kernel.Path)).Digest
	p.InitramfsDigest = readProof(p.Initramfs + proofSuffix).Digest
	return p, nil
}

// packedPart is a part with where it comes from, and its name in the initramfs;
// "" is for one that is an archive itself.
type packedPart struct {
	Part
	name, path string
}

// join writes an initramfs of several archives behind each other, as the kernel
// unpacks them (buffer-format.rst, as for WriteCPIO): what is an archive, and an
// archive for each file.
func join(ctx context.Context, w io.Writer, parts []packedPart) error {
	if err := WriteCPIO(w, Entry{Path: "ore", Mode: modeFolder}, Entry{Path: path.Dir(packedLayer), Mode: modeFolder}); err != nil {
		return err
	}
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := joinPart(w, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

func joinPart(w io.Writer, p packedPart) error {
	f, err := os.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if p.name == "" {
		n, err := io.Copy(w, f)
		if err == nil {
			_, err = w.Write(make([]byte, pad(int(n))))
		}
		return err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(p.Size), unix.PROT_READ, unix.MAP_PRIVATE) // tens of MB need no copy
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	return errors.Join(WriteCPIO(w, Entry{Path: p.name, Mode: modeFile, Data: data}), unix.Munmap(data))
}

// carriedModules finds or makes a squashfs as [Boot.Modules] gives one, of the
// carried modules alone.
func (b *Boot) carriedModules(ctx context.Context) (string, error) {
	image := b.made("modules", ".squashfs", append([]string{"carried"}, carried()...)...)
	err := b.make(image, func(f *os.File) error {
		all, err := findModules(b.modules)
		if err != nil {
			return err
		}
		keep, err := all.closure(isCarried)
		if err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "ore-modules-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if err := all.lay(filepath.Join(dir, "lib/modules", b.Kernel.Version), keep); err != nil {
			return err
		}
		if err := b.index(ctx, dir); err != nil {
			return err
		}
		return b.writeFolder(ctx, f, filepath.Join(dir, "lib/modules", b.Kernel.Version))
	})
	if err != nil {
		return "", fmt.Errorf("modules of %s: %w", b.Kernel.Package, err)
	}
	return image, nil
}

// closure returns the files of the picked modules and of all that they need.
func (m *modules) closure(pick func(file string) bool) (map[string]bool, error) {
	o := &ordering{modules: m, state: map[string]int{}, namesOnly: true}
	for name, file := range m.files {
		if pick(file) {
			if err := o.add(name, false); err != nil {
				return nil, err
			}
		}
	}
	keep := map[string]bool{}
	for _, l := range o.list {
		keep[m.files[l.name]] = true
	}
	return keep, nil
}

// lay makes links to the modules to keep, and to the lists of the kernel's own,
// in a folder that is to be /lib/modules/VERSION.
func (m *modules) lay(dir string, keep map[string]bool) error {
	files := []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"} // depmod(8) reads these
	for f := range keep {
		files = append(files, f)
	}
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(m.dir, f)); err != nil {
			continue // not every kernel has every list
		}
		to := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join(m.dir, f), to); err != nil {
			return err
		}
	}
	return nil
}
