// Package ethernet is a small Ethernet switch in user space.
//
// Things are plugged into a [Switch] as ports. A [Port] has an [Identity], one
// MAC and one IPv4 address, from the moment it exists until it is unplugged:
// nothing is learned from traffic, so nothing can be taught wrongly. Whatever
// enters through a port is checked against its identity ([Check]) and dropped
// and counted where it does not fit. What is behind a port is an [Outlet]: a
// socket that carries one raw frame a packet ([Switch.PlugSocket]: User Mode
// Linux and QEMU speak it), the gateway's own network stack, or a link to
// another host, with several machines behind it ([Trunk]).
//
// The rules of the house:
//
//   - Only IPv4 and ARP pass. Other protocols, VLAN tags and IPv6 among them,
//     are dropped: their senders could not be checked.
//   - A frame to a known MAC goes to its port, to an unknown one nowhere.
//   - An ARP request goes to the owner of the address asked for and to nobody
//     else. Other broadcast and multicast frames go to all ports, at a limited
//     rate for each sender.
//   - Delivering never blocks. Each socket has a bounded queue of its own; when
//     it is full, frames for it are dropped. A peer that stops reading, sends
//     garbage or closes hurts nobody but itself.
//
// Latency, jitter, loss and rate can be set for a port ([Port.Impair]).
//
// Frames live in pooled buffers with a reference count; in the steady state
// forwarding allocates nothing. Sockets are read and written in batches
// (recvmmsg(2), sendmmsg(2)).
package ethernet
