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
//     first, read-only; then Config.Disk, if any, read-write. They are
//     /dev/ubda, /dev/ubdb ... in User Mode Linux and /dev/vda, /dev/vdb ... in
//     QEMU. A device's size may be that of the file rounded up to 512 bytes.
//   - home, a byte stream to the host: /dev/ttyS1 in User Mode Linux (a serial
//     line that the guest sets raw before it reads or writes), the virtio-serial
//     port named [HomePort] in QEMU (found by name below
//     /sys/class/virtio-ports).
//   - at most one network interface, with the address Config.MAC.
//   - a console, whose bytes go to Config.Console.
//   - the memory and the CPUs of Config.Resources, no less.
//
// # What home guarantees
//
// Home is a reliable, ordered stream of bytes in both directions: nothing is
// lost, doubled or changed, whatever the bytes, also when one side stops
// reading for a long time. A side that does not read makes the other side's
// writes block (see [Window] for how much may be under way before that
// happens); it never makes it lose data. There are two conditions. The host's
// first byte must not come before the guest has opened home and made it raw:
// the guest speaks first. And home has one reader and one writer in the guest,
// which keeps it open as long as the machine lives: a stream that is closed
// and opened again is not promised to be whole.
//
// # What is left behind
//
// Nothing. When Wait returns, no process of the machine lives and the files
// that the driver made in Config.Dir are gone. This also holds for a machine
// whose hypervisor was killed from outside. When the process that called Start
// dies itself, however it dies, the hypervisor is killed by the host's kernel
// (PR_SET_PDEATHSIG and, where the host allows it, a PID namespace).
package vm
