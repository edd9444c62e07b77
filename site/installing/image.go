// Package installing gives machines that install themselves what they need: the
// installer's image, the program that runs in it, a recipe each, and a depot that
// has layers and packages.
//
// # The installer
//
// It is an image like any other, of the host's own suite, with the packages that
// [Needs] lists and nothing else; it is built once and then taken from the cache.
// A machine starts from it with what it writes in memory and its disk blank, and
// runs this program itself as `ore installer`, which is mounted there as an input.
//
// # The depot
//
// An HTTP service for the machines of one start, at their network's gateway:
//
//	GET /blobs/sha256/HEX        a layer of the image, or the content of a file
//	GET /packages/sha256/HEX     a package of the environment (package deb/proxy)
//
// It has nothing else, and ends when all machines are ready. Layers are given to
// machines as devices, too, as far as there is room for these: reading a device
// takes no network.
//
// # From what they install
//
// From what the plan says (package plan), unless somebody has said it: the image,
// which is made once, and written as fast as disks are, where N machines would run
// the maintainer scripts of the same packages N times; or, without making it, the
// base's, and each machine installs the rest; or packages alone. Or from the image of
// a whole disk (package install/diskimage), which is made of the image and of the disk
// that the job describes, once for each size, and kept. As long as nobody has seen here
// what machines take for the other three, it is the image.
//
// A machine that boots from the network may have a disk of another size than its job
// says. It is told of the image as well, and writes that then.
//
// # Machines on other hosts
//
// What they need reaches their hosts as blobs, by the chain: layers, and all other
// files in one, the bundle. Their host gives it to them at the same address. The image
// of what they installed one of them leaves on its disk, from which it is read while
// the job runs; the job's machines are let go once it has come, or two minutes after the
// job's end without it.
package installing

import (
	"context"

	"ore"
	"ore/deb"
	"ore/image"
	"ore/job"
	"ore/site"
)

// Need is a package of the installer, and why it is there.
type Need struct {
	Package string
	Why     string
}

// Needs returns the packages that the installer has beside the base set.
func Needs() []Need {
	return []Need{
		{"e2fsprogs", "makes ext4"},
		{"xfsprogs", "makes xfs"},
		{"btrfs-progs", "makes btrfs"},
		{"dosfstools", "makes vfat, for the EFI system partition"},
		{"lvm2", "makes and finds volumes"},
		{"mdadm", "makes and finds arrays"},
		{"kmod", "loads the modules of disks, network cards and file systems"},
		{"udev", "is what lvm2 and mdadm are built for; it does not run"},
	}
}

// Wish is what the installer's image is made of.
func Wish() ore.Wants {
	suite := deb.HostSuite()
	if suite == "" {
		suite = job.DefaultSuite
	}
	w := ore.Wants{Base: ore.Base{Distribution: "debian", Suite: suite}}
	for _, n := range Needs() {
		w.Packages = append(w.Packages, ore.Wish{Name: n.Package})
	}
	return w
}

// Image gives the installer's image, and holds it until release is called.
func Image(ctx context.Context, s *site.Site, watch ore.Watcher) (m image.Manifest, release func(), err error) {
	if m, err = s.Build(ctx, Wish(), watch); err != nil {
		return m, nil, err
	}
	return s.Cache.Acquire(ctx, m.Key)
}

// Also returns the packages that j's machines must have to be what its System and
// Storage say, beside those that it names.
func Also(m ore.Machines) []ore.Wish {
	var all []ore.Wish
	add := func(names ...string) {
		for _, n := range names {
			all = append(all, ore.Wish{Name: n})
		}
	}
	if m.Root != ore.OnDisk {
		return nil
	}
	if m.System.Locale != "" && m.System.Locale != "C.UTF-8" {
		add("locales")
	}
	if m.System.TimeZone != "" {
		add("tzdata")
	}
	kinds := map[string]bool{}
	for _, f := range fileSystems(m.Storage) {
		kinds[f.FS] = true
	}
	for _, k := range []struct{ fs, name string }{{"btrfs", "btrfs-progs"}, {"ext4", "e2fsprogs"}, {"vfat", "dosfstools"}, {"xfs", "xfsprogs"}} {
		if kinds[k.fs] {
			add(k.name)
		}
	}
	if len(m.Storage.Volumes) > 0 {
		add("lvm2")
	}
	if len(m.Storage.Arrays) > 0 {
		add("mdadm")
	}
	if m.System.Loader == ore.GRUB {
		add("systemd-sysv", "kmod", "initramfs-tools", "zstd") // without the last, gzip makes the initramfs: slower, and larger
		if m.System.Firmware == ore.UEFI {
			add("grub-efi-amd64", "dosfstools")
		} else {
			add("grub-pc")
		}
	}
	return all
}

// fileSystems returns all that are described.
func fileSystems(s ore.Storage) []ore.FileSystem {
	var all []ore.FileSystem
	for _, d := range s.Disks {
		for _, p := range d.Partitions {
			all = append(all, p.FileSystem)
		}
	}
	for _, a := range s.Arrays {
		all = append(all, a.FileSystem)
	}
	for _, v := range s.Volumes {
		all = append(all, v.FileSystem)
	}
	return all
}

// standing is the kernel that a machine has which starts on its own, unless its
// job names another.
const standing = "linux-image-amd64"

// Complete adds to a job what its machines need to install themselves.
func Complete(j *ore.Job) {
	if j.Machines.Root != ore.OnDisk {
		return
	}
	s := &j.Machines.System
	if s.Loader == ore.GRUB && s.Firmware == "" {
		s.Firmware = ore.BIOS
	}
	also := Also(j.Machines)
	if s.Loader == ore.GRUB {
		kernel := j.Wants.Kernel
		if kernel == "" {
			kernel = standing
		}
		also = append(also, ore.Wish{Name: kernel})
	}
	have := map[string]bool{}
	for _, w := range j.Wants.Packages {
		have[w.Name] = true
	}
	for _, w := range also {
		if !have[w.Name] {
			have[w.Name] = true
			j.Wants.Packages = append(j.Wants.Packages, w)
		}
	}
}
