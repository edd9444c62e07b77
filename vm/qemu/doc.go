// Package qemu starts machines with QEMU (7.2 or later), on KVM where that was
// seen to boot a kernel, else with its own code translator (TCG), which works
// everywhere and is 5 to 20 times slower.
//
// # How a machine is wired
//
// A PC without firmware menu, graphics or USB. The kernel (a bzImage, or a
// vmlinux with a PVH note, which starts 0.2 s sooner) is loaded by QEMU. Home
// is the virtio-serial port "ore.home" over a socket pair that QEMU inherits;
// the network is a virtio card on the caller's socket pair, one frame a
// packet; layers and disk are virtio disks, layers read-only and without a
// lock; the console is the first serial line on QEMU's standard output. QEMU
// runs under its own seccomp filter.
//
// # What its guests must know
//
// The drivers virtio_pci, virtio_blk, virtio_net, virtio_console and
// virtio_rng are modules in Debian's kernels.
package qemu
