// Package boot makes what a machine is started with: a kernel and its modules
// from verified packages, an initramfs, and a formatted private disk.
//
// # Kernels
//
// [UML] takes the kernel that is a program, from Debian's user-mode-linux.
// [QEMU] takes a kernel package by name, such as linux-image-cloud-amd64 or
// one that a job asks for, and brings its vmlinux beside the bzImage: QEMU
// enters that directly by the PVH protocol, which saves the kernel's own
// decompression at each boot.
//
// # Initramfs
//
// A newc cpio archive that holds
//
//	/init              ore-init, given by the caller
//	/ore/modules       the modules to load, one path a line, in the order of loading
//	/ore/lib/*.ko      these modules, decompressed, without debugging information
//	/dev/console       so that init has its standard streams
//	/dev /proc /sys    empty
//	/ore/root /ore/disk /ore/layer*   empty, to mount on
//
// and nothing else, so it is small and made in milliseconds. Identity and
// token of a machine are a second archive, which its driver appends.
// Which modules are needed is read from the modules themselves (the depends
// and softdep entries of .modinfo), since a kernel package has no modules.dep:
// that is made by its maintainer script.
//
// # The full set of modules
//
// [Boot.Modules] gives a squashfs of the kernel's whole /lib/modules, which is
// mounted read-only in the machine, with the indexes that modprobe needs. It
// is made when it is first asked for, once per kernel package.
//
// # All in one file
//
// [Boot.Pack] puts an image, the kernel's modules for disks and network cards and
// a program into the initramfs as well, for hardware that is given nothing else:
// what boots from the network and installs itself. With the installer's image of
// Debian 12 a machine loads 99.6 MB: 8.2 of kernel, 3.4 of ore-init and first
// modules, 25.6 of modules, 24.5 of the program and 37.8 of the image, whose
// layers have 111 MB on the host.
//
// # Disks
//
// [Disk] copies a master, made once per size by the shelf's mke2fs with options
// under which 20 GB of ext4 allocate 128 KiB in three pieces; a machine's disk
// costs a fraction of a millisecond and nothing more until it is written.
//
// # What is known of the bytes that machines boot
//
// A package is compared with its digest in the archive's signed index when it
// is unpacked. What is made of it (initramfs, vmlinux, modules) is made by this
// program from that tree. Of these files and of the kernel itself the digests are
// recorded, each with a stamp of inode, size and change time, as package image
// does for layers. Before each start the stamps are compared, which takes
// microseconds; a file whose stamp is another is read and hashed, and is not
// booted if its digest is another too.
//
// The records lie in the same folder, which only its owner writes to: they tell
// of accidents and of programs that write where they should not, and not of
// somebody who is that owner. A disk's master is not looked at; it is empty.
//
// All that is kept is named by the digest of what it was made from, and
// appears whole: files are written without a name (O_TMPFILE) and linked.
package boot
