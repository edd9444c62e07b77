// Package inside is what ore-init does in a machine. As process 1 it makes a
// Debian system out of layers and a private disk, greets the host over home
// and then does what the host asks: run commands, unpack and pack files, switch
// off. The same program is the launcher ore-rsh that jobs use between machines.
//
// # The order of a start
//
// The random pool is seeded first, since everything that asks it for bytes
// would wait a second or two. Modules come next, then the block devices: the
// first ones are squashfs layers, lowest first, the last is the private disk.
// An overlay of them becomes the root; modules and identity are removed from the
// initramfs. The kernel's whole set of modules is mounted, names, addresses and
// accounts of the machine are set, what the job mounts is mounted, and only then is home opened and the host
// greeted with the time that each stage took. If a stage fails, the greeting
// says which one and why.
//
// # Rules of process 1
//
// Nothing that a job does may end it, since the kernel panics then: no signal
// harms it, the killer for want of memory passes it by, and jobs
// live in a control group whose number of processes is bounded. It reaps every
// orphan, and no child is waited for anywhere else. When home is lost, nobody
// can want anything from the machine any more, and it switches itself off.
package inside
