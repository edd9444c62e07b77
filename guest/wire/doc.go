// Package wire is what host and machine say to each other over home, the byte
// stream that the hypervisor's driver opened. Both ends use it: package guest
// on the host, package guest/inside in the machine.
//
// # Greeting
//
// The machine speaks first, because before its init has set the serial line to
// raw mode the line would echo what the host sends:
//
//	machine: magic (8 bytes)  length (4 bytes, big endian)  hello (JSON)
//	host:                     length                        welcome (JSON)
//
// Everything after that is frames of a [Session].
//
// # Frames
//
// A frame has a header of 8 bytes, big endian, and a payload:
//
//	kind (1 byte)  length of the payload (3 bytes)  stream (4 bytes)
//
//	kind    payload             meaning
//	open    none                the stream begins; host: odd, machine: even, ascending
//	data    1 to 32768 bytes    uses up the window
//	window  4 bytes             the receiver's consumer took so many bytes
//	end     none                no more data from this side
//	reset   none                the stream is over in both directions
//
// Every stream starts with a window of [HostWindow] or [MachineWindow] bytes in
// each direction, by who opened it. A sender never has more than that unread, so neither a slow consumer nor a
// hostile peer makes the other side buffer without bound, and one stream that
// nobody reads does not hold up the others. There are no keep-alives and no
// timeouts: sixteen machines on two cores are slow without being dead, and
// that a machine has died is seen from its hypervisor's process, which closes
// home.
//
// A multiplexer of our own and not one of the well-known libraries: those
// answer each ping with a goroutine and queue without bound for a peer that
// does not read, which a hostile machine could use against the host, and
// their write timeouts end sessions of machines that are merely slow.
//
// # Streams
//
// The side that opens a stream sends one [Request] as a message (length and
// JSON). What follows depends on the request's operation; see [Request].
package wire
