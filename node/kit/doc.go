// Package kit carries what machines are started with from one host to another
// that has nothing: the hypervisor's program with its loader and libraries, the
// kernel, the initramfs, the modules, the empty disk.
//
// Each part is a blob, known by its digest, so that what a host has of it is not
// sent again. Initramfs, kernel and modules are blobs as they are. Two have a
// form of their own on the way, with nothing in it of the host that they come
// from, so that all who have the same packages send the same bytes:
//
// A program is a tar archive (POSIX.1-2001) of regular files: first "program",
// then "loader", then its libraries by the names under which the loader looks
// for them. The kernel reads the path of a program's loader from the place in the
// file to which its program header PT_INTERP points (elf(5)), and that path must
// be absolute: [Unpack] appends the one that holds where it lays the program out.
//
// QEMU is not sent: it loads modules and firmware from folders that are built into
// it. A kit names it instead, and the host must have it.
//
// A disk, which is sparse, is
//
//	"orespar\x01", size (8 bytes, big endian), then for each piece of data
//	offset (8), length (8), the bytes
//
// with pieces in order that do not touch what lies behind the size.
package kit

import (
	"slices"

	"ore"
)

// Kit is what a hypervisor is started with, as blobs. A field that is empty is
// of no use to that hypervisor.
type Kit struct {
	Hypervisor  string
	Program     ore.Digest // an archive, see the package's page
	Own         string     // instead of it, the name of a program that the host must have
	Args        []string   // fixed first arguments of the program
	Kernel      ore.Digest
	Initrd      ore.Digest
	Modules     ore.Digest // a squashfs
	Disk        ore.Digest // a sparse file, see the package's page
	Accelerator string     // see node.Boot
	Release     string     // of the kernel
}

// Blobs lists all that k is made of, each once.
func (k Kit) Blobs() []ore.Digest {
	var all []ore.Digest
	for _, d := range []ore.Digest{k.Program, k.Kernel, k.Initrd, k.Modules, k.Disk} {
		if d != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}
