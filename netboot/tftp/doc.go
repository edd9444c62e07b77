// Package tftp gives files to the firmware of machines: a read-only server of
// the Trivial File Transfer Protocol.
//
//	RFC 1350  the protocol, revision 2
//	RFC 2347  options are negotiated: the client asks, OACK says what it gets
//	RFC 2348  blksize, 8 to 65464 octets
//	RFC 2349  timeout in seconds, tsize: how long the file is
//	RFC 7440  windowsize: so many blocks before each acknowledgement
//
// A block of 512 octets and a wait for each makes the plain protocol slow in
// proportion to the round trip; with a block of an Ethernet frame and a window
// it comes near to what TCP gives. The server never lets a block exceed the
// interface's MTU, since firmware is bad at putting fragments together, and
// never a window its own limit; the client is told the smaller number, as the
// RFCs allow. Block numbers go on with 0 after 65535, as all clients that
// read long files expect.
//
// Writing is refused, as is the mode netascii: what is read here are programs.
//
// # Hostile clients
//
// Anyone on the network may send anything, in anyone's name. A transfer is a
// socket and a goroutine, of which there are at most as many as the constants
// say, by client and in all; it ends after a number of unanswered tries and
// after a time whatever happens. Before a client has proved that it hears us, it
// gets one small packet a try: without options 516 octets, with options an
// OACK; a window is sent only after its first acknowledgement. What cannot be
// read is answered by an ERROR at most once, and an ERROR never by anything.
package tftp
