package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ore"
	"ore/deb/shelf"
)

// format is part of the name of each file that is made: it changes when their
// content does for the same input.
const format = "4"

// Config is what boot works with. All fields but UML and InitDigest are needed.
type Config struct {
	Dir        string       // folder for what is made; shared by processes
	Shelf      *shelf.Shelf // where kernels, modules and tools come from
	UML        *shelf.Shelf // where User Mode Linux comes from; nil means Shelf
	Init       []byte       // the program ore-init, a static executable
	InitDigest ore.Digest   // of Init; "" has it computed
}

// Boot is what machines of one hypervisor and kernel are started with.
type Boot struct {
	Kernel  Kernel
	Program *shelf.Program // runs the kernel, where that is a program (UML); else nil
	Initrd  string         // host path of the initramfs
	config  Config
	tree    *shelf.Tree
	modules string // host path of the kernel's modules, which is /lib/modules/VERSION in the guest
}

// Kernel is a kernel of a verified package.
type Kernel struct {
	Path    string // host path of linux.uml or of the bzImage
	Vmlinux string // host path of the ELF file that QEMU can enter by PVH; "" if there is none
	Version string // its release, as uname -r says
	Package ore.Package
}

// umlModules are what a machine under User Mode Linux needs before its root is
// mounted; ext4, the disks and the network are built in.
func umlModules() []wanted {
	return []wanted{{"squashfs", true}, {"overlay", true}}
}

// qemuModules are what a machine under QEMU needs. Kernels differ in what they
// have built in.
func qemuModules() []wanted {
	return []wanted{
		{"virtio_pci", true},
		{"virtio_mmio", false}, // of the machine type microvm
		{"virtio_rng", false},  // first of the devices: everything else may want random numbers
		{"virtio_console", true},
		{"virtio_blk", true},
		{"virtio_net", true},
		{"squashfs", true},
		{"overlay", true},
		// ext4 asks the kernel's crypto for the algorithm crc32c by that name,
		// which in an initramfs nobody can turn into a module's.
		{"crc32c_generic", false},
		{"ext4", true},
	}
}

// UML returns what machines under User Mode Linux start with.
func UML(ctx context.Context, c Config) (*Boot, error) {
	const pkg, program = "user-mode-linux", "usr/bin/linux.uml"
	from := c.UML
	if from == nil {
		from = c.Shelf
	}
	tree, err := from.Tree(ctx, pkg)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	p, err := tree.Program(program)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	b := &Boot{Program: p, config: c, tree: tree}
	b.Kernel = Kernel{Path: p.Path, Package: tree.Packages[0]}
	if b.Kernel.Version, b.modules, err = moduleFolder(tree, "usr/lib/uml/modules"); err != nil {
		return nil, fmt.Errorf("boot: %s: %w", tree.Packages[0], err)
	}
	if err := b.kernel(); err != nil {
		return nil, err
	}
	return b, b.initrd(umlModules())
}

// QEMU returns what machines under QEMU start with when they have the kernel
// of the named package, such as linux-image-cloud-amd64.
func QEMU(ctx context.Context, c Config, kernelPackage string) (*Boot, error) {
	tree, err := c.Shelf.Tree(ctx, kernelPackage)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	b := &Boot{config: c, tree: tree}
	if b.Kernel.Version, b.modules, err = moduleFolder(tree, "usr/lib/modules"); err != nil {
		return nil, fmt.Errorf("boot: %s is not a kernel package that can be used: %w", tree.Packages[0], err)
	}
	if b.Kernel.Path, err = tree.Path("boot/vmlinuz-" + b.Kernel.Version); err != nil {
		return nil, fmt.Errorf("boot: %s is not a kernel package that can be used: %w", tree.Packages[0], err)
	}
	b.Kernel.Package = tree.Packages[0]
	for _, p := range tree.Packages {
		if strings.HasSuffix(p.Name, b.Kernel.Version) {
			b.Kernel.Package = p // the package itself, where tree was asked for by a metapackage
		}
	}
	if err := b.kernel(); err != nil {
		return nil, err
	}
	if err := b.vmlinux(); err != nil {
		return nil, err
	}
	return b, b.initrd(qemuModules())
}

// moduleFolder finds the one folder that a kernel package has under dir, whose
// name is the kernel's release.
func moduleFolder(t *shelf.Tree, dir string) (version, folder string, err error) {
	parent, err := t.Path(dir)
	if err != nil {
		return "", "", err
	}
	list, err := os.ReadDir(parent)
	if err != nil {
		return "", "", err
	}
	if len(list) != 1 {
		return "", "", fmt.Errorf("%d kernels in one package", len(list))
	}
	return list[0].Name(), filepath.Join(parent, list[0].Name()), nil
}

// made is the path of a file that is made of the kernel package's tree, whose
// name is made of its packages' digests, and of what the other words name.
func (b *Boot) made(kind, suffix string, words ...string) string {
	name := strings.Join(append([]string{format, filepath.Base(b.tree.Dir)}, words...), "\n")
	return filepath.Join(b.config.Dir, kind, ore.DigestOf([]byte(name)).Hex()[:32]+suffix)
}

// vmlinux finds or makes the kernel's ELF file.
func (b *Boot) vmlinux() error {
	path := b.made("vmlinux", "")
	err := b.make(path, func(f *os.File) error {
		image, err := os.Open(b.Kernel.Path)
		if err != nil {
			return err
		}
		defer image.Close()
		err = vmlinux(f, image)
		if errors.Is(err, errNoPVH) {
			return nil // an empty file remembers it
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("boot: vmlinux of %s: %w", b.Kernel.Package, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	if info.Size() > 0 {
		b.Kernel.Vmlinux = path
	}
	return nil
}

// initrd finds or makes the initramfs.
func (b *Boot) initrd(list []wanted) (err error) {
	b.Initrd, err = b.initramfs(list)
	return err
}

// initramfs finds or makes one with the modules of a list.
func (b *Boot) initramfs(list []wanted) (string, error) {
	init := b.config.InitDigest
	if init == "" {
		init = ore.DigestOf(b.config.Init)
	}
	words := []string{init.Hex()}
	for _, w := range list {
		words = append(words, fmt.Sprint(w.name, w.needed))
	}
	path := b.made("initrd", ".cpio", words...)
	err := b.make(path, func(f *os.File) error {
		all, err := findModules(b.modules)
		if err != nil {
			return err
		}
		order, err := all.order(list)
		if err != nil {
			return err
		}
		for i, m := range order {
			if order[i].data, err = strip(m.data); err != nil {
				return fmt.Errorf("module %s: %w", m.name, err)
			}
		}
		return WriteCPIO(f, initial(b.config.Init, order)...)
	})
	if err != nil {
		return "", fmt.Errorf("boot: initramfs of %s: %w", b.Kernel.Package, err)
	}
	return path, nil
}

// mountedLayers is for how many layers there are folders to mount them on; for
// more, of which an image has none, ore-init makes its own.
const mountedLayers = 5

// initial is the content of an initramfs (see the package's comment).
func initial(init []byte, order []module) []Entry {
	entries := []Entry{
		{Path: "dev", Mode: modeFolder},
		{Path: "dev/console", Mode: modeChar, Major: 5, Minor: 1},
		{Path: "ore", Mode: modeFolder},
		{Path: "ore/disk", Mode: modeFolder},
		{Path: "ore/lib", Mode: modeFolder},
		{Path: "ore/root", Mode: modeFolder},
		{Path: "proc", Mode: modeFolder},
		{Path: "sys", Mode: modeFolder},
		{Path: "init", Mode: modeExec, Data: init},
	}
	for i := range mountedLayers {
		entries = append(entries, Entry{Path: fmt.Sprintf("ore/layer%d", i), Mode: modeFolder})
	}
	var list strings.Builder
	for _, m := range order {
		path := "ore/lib/" + m.name + ".ko"
		entries = append(entries, Entry{Path: path, Mode: modeFile, Data: m.data})
		fmt.Fprintf(&list, "/%s\n", path)
	}
	return append(entries, Entry{Path: "ore/modules", Mode: modeFile, Data: []byte(list.String())})
}
