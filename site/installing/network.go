package installing

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"ore"
	"ore/boot"
	"ore/image"
	"ore/install/recipe"
	"ore/site"
)

// Network makes what machines that boot from the network boot and are told. They
// get the same installer, packed into one initramfs, and install what this host
// makes or has. It is not safe for concurrent use.
type Network struct {
	Site     *site.Site
	Roster   string                  // the folder with the list of machines: what they may ask for is kept apart from what those of other lists may
	Address  func(ore.Digest) string // where machines find a blob
	Packages string                  // where they find packages, as /sha256/HEX below it
	Captured string                  // below which address images are taken of what they install (see Take); "" for none
	From     recipe.Strategy         // "" for the image; FromMirror besides those of a recipe
	Watch    ore.Watcher

	telling *os.File // locked while what Tell named is in no list of machines yet
}

// Host is one machine that boots from the network.
type Host struct {
	Name     string       // its host name
	ID       string       // who it is, for the identifiers on its disks: the address of its card
	Firmware ore.Firmware // what it boots with
	Slow     bool         // it starts again through its firmware, also where it has kexec
	Discard  bool         // what it installs is not kept as an image
}

// Told is what such a machine boots and is told.
type Told struct {
	Kernel, Initramfs ore.Digest
	Arguments         string // of the kernel
	Recipe            []byte
	Becomes           ore.Digest  // names what it is in the end
	Parts             []boot.Part // of what it loads
}

// serial is the line that machines without a screen are seen on; a kernel passes
// over one that is not there.
const serial = "ttyS0,115200"

// arguments are those of the installer's kernel: it talks to both consoles, and
// one that panics tries again after half a minute.
const arguments = "quiet panic=30 console=" + serial + " console=tty0"

// noKexec has a kernel refuse kexec, of which some devices do not come back (the
// kernel's admin-guide/kernel-parameters, sysctl.*, and sysctl/kernel).
const noKexec = " sysctl.kernel.kexec_load_disabled=1"

// Tell makes what h boots and is told so that it becomes what j says. What that
// names is found by Blob from then on, also in another process.
func (n *Network) Tell(ctx context.Context, j ore.Job, h Host) (Told, error) {
	j = Netbooted(j, h.Firmware)
	packed, err := n.pack(ctx)
	if err != nil {
		return Told{}, fmt.Errorf("make the installer: %w", err)
	}
	t := Told{Kernel: packed.KernelDigest, Initramfs: packed.InitramfsDigest, Arguments: arguments, Parts: packed.Parts}
	if h.Slow {
		t.Arguments += noKexec
	}
	s := &stock{files: map[ore.Digest]string{t.Kernel: packed.Kernel, t.Initramfs: packed.Initramfs}}
	defer s.release()
	r, err := n.recipe(ctx, s, j, h)
	if err != nil {
		return t, err
	}
	if err := n.begin(); err != nil {
		return t, err
	}
	if err := n.capture(ctx, &r, h, j.Machines.Disk); err != nil {
		return t, err
	}
	if err := n.packages(ctx, j.Wants, &r); err != nil {
		return t, err
	}
	t.Recipe, t.Becomes = r.Encode(), r.Digest()
	return t, n.keep(s.files)
}

// packages has those at hand that r names. A machine that has its image does without.
func (n *Network) packages(ctx context.Context, w ore.Wants, r *recipe.Recipe) error {
	if len(r.Archive) == 0 {
		return nil
	}
	err := n.keepPackages(ctx, w, r.Environment)
	if err == nil || r.Finished() == nil {
		return err
	}
	r.Archive = nil
	n.Watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("machine %s has no packages to install instead if its image cannot be had: %v", r.Name, err)})
	return nil
}

// Netbooted is j for a machine that boots from the network with this firmware, unless j
// names another: it starts on its own.
func Netbooted(j ore.Job, f ore.Firmware) ore.Job {
	j.Machines.Root, j.Machines.System.Loader = ore.OnDisk, ore.GRUB
	j.Machines.System.Firmware = cmp.Or(j.Machines.System.Firmware, f)
	Complete(&j)
	return j
}

// recipe makes what h is told, and has what that names in the stock.
func (n *Network) recipe(ctx context.Context, s *stock, j ore.Job, h Host) (r recipe.Recipe, err error) {
	// Another one has what is installed: the server, for whom it is kept.
	m := Maker{Site: n.Site, ID: h.ID, Job: j, From: n.From, Depot: n.Packages, Loose: true, Watch: n.Watch}
	var img image.Manifest
	switch m.From {
	case "":
		m.From = recipe.Whole
	case FromMirror:
		m.From, m.direct = recipe.Packages, true
	}
	if m.From == recipe.Whole || m.From == recipe.Disk {
		if img, err = n.Site.Build(ctx, j.Wants, n.Watch); err == nil {
			img, err = s.hold(n.Site.Cache.Acquire(ctx, img.Key))
		}
	} else {
		img.Environment, err = n.Site.ClusterConfig(h.ID, n.Watch).Images.Lock(ctx, j.Wants, n.Watch)
	}
	if err != nil {
		return r, err
	}
	if r, err = m.recipe(ctx, s, img); err != nil {
		return r, err
	}
	r.Name, r.Seed, r.Console, r.Storage = h.Name, h.ID, serial, j.Machines.Storage
	for d, source := range r.Blobs {
		source.From = []string{n.Address(d)}
		r.Blobs[d] = source
	}
	if r.Archive, err = n.archive(m, r); err != nil {
		return r, err
	}
	return r, r.Check()
}

// archive says where a machine finds the packages of r, if it is to find any: here, and
// where that fails at the mirror, or at the mirror alone.
func (n *Network) archive(m Maker, r recipe.Recipe) ([]string, error) {
	mirrors, err := m.mirrors()
	switch {
	case m.direct && err != nil:
		return nil, fmt.Errorf("install from the mirror: %w", err)
	case m.direct:
		return mirrors, nil
	case len(r.Archive) == 0:
		return nil, nil
	}
	return append([]string{"proxy:" + n.Packages}, mirrors...), nil // where there is no mirror, the proxy is alone
}

// pack makes the installer one initramfs, or finds it.
func (n *Network) pack(ctx context.Context) (boot.Packed, error) {
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

// Loaders returns the files of iPXE that firmware loads, of Debian's package.
func (n *Network) Loaders(ctx context.Context) (bios, uefi string, err error) {
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
