// Package vm is what the rest of ore knows of virtual machines: a
// [Hypervisor] starts a [Machine] from a [Config], and that is all. The
// drivers are in the folders below (uml, qemu ...), the conformance suite that
// each of them passes is in vmtest.
//
// # What a guest finds
//
// A machine starts a kernel directly, with an initramfs made of Config.Initrd
// and, appended, Config.Extra. There is no firmware menu, no boot loader and
// no DHCP. Inside are:
//
//   - the block devices, in this order: one for each of Config.Layers, lowest
//     first, read-only (those of the image, the kernel's modules, then what the
//     job mounts); then Config.Disk, if any, read-write. They are
//     /dev/ubda, /dev/ubdb ... in User Mode Linux and /dev/vda, /dev/vdb ... in
//     QEMU. A device's size may be that of the file rounded up to 512 bytes.
//   - home, a byte stream to the host, which the guest opens with home.Open
//     (package vm/home): memory shared through /dev/mmapper with /dev/ttyS1 for
//     a bell in User Mode Linux, the virtio-serial port "ore.home" in QEMU.
//   - at most one network interface, with the address Config.MAC.
//   - a console, whose bytes go to Config.Console.
//   - the memory and the CPUs of Config.Resources, no less.
//
// # What home guarantees
//
// Home is a reliable, ordered stream of bytes in both directions: nothing is
// lost, doubled or changed, whatever the bytes, also when one side stops
// reading for a long time. A side that does not read makes the other side's
// writes block, once at most [Window] bytes are under way; it never makes it
// lose data. Either side may write first, also before the guest has opened
// home. Home has one reader and one writer in the guest, which keeps it open
// as long as the machine lives.
//
// # What is left behind
//
// Nothing. When Wait returns, no process of the machine lives and the files
// that the driver made in Config.Dir are gone. This also holds for a machine
// whose hypervisor was killed from outside. When the process that called Start
// dies itself, however it dies, the hypervisor is killed by the host's kernel
// (PR_SET_PDEATHSIG and, where the host allows it, a PID namespace).
package vm
