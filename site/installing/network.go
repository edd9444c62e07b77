package installing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"ore"
	"ore/boot"
	"ore/install/recipe"
	"ore/site"
)

// Network makes what machines that boot from the network boot and are told. They
// get the same installer, packed into one initramfs, and install the image that
// this host makes.
type Network struct {
	Site    *site.Site
	Address func(ore.Digest) string // where machines find a blob
	Watch   ore.Watcher
}

// Host is one machine that boots from the network.
type Host struct {
	Name     string       // its host name
	ID       string       // who it is, for the identifiers on its disks: the address of its card
	Firmware ore.Firmware // what it boots with
}

// Told is what such a machine boots and is told.
type Told struct {
	Kernel, Initramfs ore.Digest
	Arguments         string // of the kernel
	Recipe            []byte
	Parts             []boot.Part // of what it loads
}

// serial is the line that machines without a screen are seen on; a kernel passes
// over one that is not there.
const serial = "ttyS0,115200"

// arguments are those of the installer's kernel: it talks to both consoles, and
// one that panics tries again after half a minute.
const arguments = "quiet panic=30 console=" + serial + " console=tty0"

// Tell makes what h boots and is told so that it becomes what j says. What that
// names is found by Blob from then on, also in another process.
func (n Network) Tell(ctx context.Context, j ore.Job, h Host) (Told, error) {
	j.Machines.Root, j.Machines.System.Loader = ore.OnDisk, ore.GRUB // it starts on its own
	if j.Machines.System.Firmware == "" {
		j.Machines.System.Firmware = h.Firmware
	}
	Complete(&j)
	img, err := n.Site.Build(ctx, j.Wants, n.Watch)
	if err != nil {
		return Told{}, err
	}
	packed, err := n.pack(ctx)
	if err != nil {
		return Told{}, fmt.Errorf("make the installer: %w", err)
	}
	t := Told{Kernel: packed.KernelDigest, Initramfs: packed.InitramfsDigest, Arguments: arguments, Parts: packed.Parts}
	files, err := paths(ctx, n.Site.Cache.Store, img)
	if err != nil {
		return t, err
	}
	r := recipe.Recipe{
		Version: recipe.Version, Name: h.Name, Seed: h.ID, Storage: j.Machines.Storage, System: j.Machines.System, Console: serial,
		Environment: img.Environment, Strategy: recipe.Whole, Image: &img, Blobs: map[ore.Digest]recipe.Source{},
	}
	for _, l := range img.Layers {
		r.Blobs[l.Digest] = recipe.Source{Size: l.Size, From: []string{n.Address(l.Digest)}}
	}
	if err := r.Check(); err != nil {
		return t, err
	}
	t.Recipe = r.Encode()
	files[t.Kernel], files[t.Initramfs] = packed.Kernel, packed.Initramfs
	return t, n.keep(files)
}

// pack makes the installer one initramfs, or finds it.
func (n Network) pack(ctx context.Context) (boot.Packed, error) {
	s := &stock{}
	defer s.release()
	img, err := s.hold(Image(ctx, n.Site, n.Watch))
	if err != nil {
		return boot.Packed{}, err
	}
	program, err := Maker{Site: n.Site, Watch: n.Watch}.program(ctx, s)
	if err != nil {
		return boot.Packed{}, err
	}
	var c boot.Content
	if c.Program, err = n.Site.Cache.Verified(ctx, program); err != nil {
		return boot.Packed{}, err
	}
	for _, l := range img.Layers {
		p, err := n.Site.Cache.Verified(ctx, l.Digest)
		if err != nil {
			return boot.Packed{}, err
		}
		c.Layers = append(c.Layers, p)
	}
	config, err := n.Site.BootConfig(ctx, n.Watch)
	if err != nil {
		return boot.Packed{}, err
	}
	b, err := boot.QEMU(ctx, config, standing)
	if err != nil {
		return boot.Packed{}, err
	}
	return b.Pack(ctx, c)
}

// kept is the folder of what machines that boot from the network may ask for.
func (n Network) kept() string { return filepath.Join(n.Site.Dirs.Images, "netboot") }

// keep has files stay as long as machines may ask for them, whatever becomes of
// the images that they are of: each has a further name, or where that cannot be,
// a link.
func (n Network) keep(files map[ore.Digest]string) error {
	if err := os.MkdirAll(n.kept(), 0o755); err != nil {
		return err
	}
	for d, path := range files {
		name := filepath.Join(n.kept(), d.Hex())
		err := os.Link(path, name)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = os.Symlink(path, name)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Blob opens what Tell named.
func (n Network) Blob(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
	if d.Hex() == "" {
		return nil, fs.ErrNotExist
	}
	return os.Open(filepath.Join(n.kept(), d.Hex()))
}

// Loaders returns the files of iPXE that firmware loads, of Debian's package.
func (n Network) Loaders(ctx context.Context) (bios, uefi string, err error) {
	config, err := n.Site.BootConfig(ctx, n.Watch)
	if err != nil {
		return "", "", err
	}
	if bios, err = config.Shelf.Path(ctx, "ipxe", "usr/lib/ipxe/undionly.kpxe"); err != nil {
		return "", "", err
	}
	uefi, err = config.Shelf.Path(ctx, "ipxe", "usr/lib/ipxe/ipxe.efi")
	return bios, uefi, err
}
