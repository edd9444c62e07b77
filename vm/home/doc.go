// Package home is the stream of bytes between a machine's first process and
// the host: both ends of it, because the way through User Mode Linux has a
// protocol. A guest calls [Open] and has the stream, whatever hypervisor it is
// in; a driver of a hypervisor that gives no reliable stream makes the host's
// end with [New] over memory that both sides see.
//
// # Why User Mode Linux needs this
//
// Its serial lines (Linux 6.1, arch/um/drivers/line.c) carry what a guest
// writes, but not what it reads: once the host is about 4 KiB ahead of the
// reader, the terminal layer throttles the line, which takes the line's
// descriptor out of the set that is polled, and nothing puts it back. The line
// is silent for ever. It also reads the host byte by byte, at 1 MB/s.
//
// So the bytes go through memory that is shared: a file of the host that the
// kernel maps as the device /dev/mmapper (iomem=mmapper,FILE; arch/um/drivers/
// mmapper_kern.c). The serial line is a bell and never holds more than one
// byte in each direction, which says "look again".
//
// # The shared memory
//
// Words are 64 bits, in the machine's order, each on a cache line of its own:
//
//	word 0   magic, "OREHOME1"
//	word 1   bytes in one ring, a power of two
//	word 2   ring 0, host to guest: head, tail, reader waits, writer waits, closed
//	word 7   ring 1, guest to host: the same five
//	word 12  a bell for the guest is on its way; word 13: one for the host
//	byte 4096               the bytes of ring 0
//	byte 4096 + ring size   the bytes of ring 1
//
// head counts the bytes ever written, tail those ever read; their difference
// is what the ring holds. Only the writer stores head, only the reader stores
// tail. Who finds a ring empty (or full) sets "reader waits" ("writer waits"),
// looks once more, and waits for the bell; who has changed head (tail) and
// swaps a set flag for zero rings it. Before the bell is rung its own word is
// swapped for one, and who hears it stores zero before looking: a bell that is
// still on its way serves for all that happened before it is heard.
//
// Neither side trusts the other's words: a difference greater than the ring is
// an error of the stream, [ErrBroken], and the memory can be neither grown nor
// shrunk under the host.
package home
