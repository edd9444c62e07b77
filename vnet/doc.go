// Package vnet is the private network of a job's machines, in user space.
//
// A [Network] needs no privilege, no tap device and no network namespace: its
// machines are joined by our own switch (package ethernet), and its gateway is
// a network stack inside this process (gVisor's netstack). Two networks know
// nothing of each other.
//
//	net, err := vnet.New(vnet.Config{Policy: ore.NAT})
//	file, address, err := net.Attach("m0")    // file goes to the hypervisor, address to the guest
//	conn, err := net.DialContext(ctx, "m0", 80)  // from this process into the machine
//	listener, err := net.Listen(8000)         // from machines to this process, at the gateway
//
// # Addresses
//
// IPv4 only. The gateway has the first address of the subnet, machines the
// following in the order in which they were first attached. A name keeps its
// address for the network's life, and the MAC follows from the address. There
// is no DHCP: a guest is told its [Address] before it starts. In a network that
// spans hosts addresses follow from ranks ([Network.AttachAt]).
//
// # Many hosts
//
// Each host of a job has a Network with the same subnet. A [Trunk] joins two of
// them: it is told which machines are behind it, and lets pass what is from and
// for those. Each host's gateway is its own, and serves its own machines only;
// its DNS knows all names. Links are made by package trunk.
//
// # What a machine can reach
//
// The other machines of its network, always. At the gateway: ICMP echo, DNS
// (UDP and TCP port 53), and the ports of [Network.Listen]. Further, by policy:
//
//   - Isolated: nothing. DNS answers for machine names and refuses the rest.
//   - NAT: TCP and UDP to the outside, as sockets of this process. Never to the
//     host itself (loopback, any of its interfaces' addresses and broadcast
//     addresses), link-local addresses, the metadata services of clouds,
//     multicast, or addresses that are reserved.
//   - What Config.Allow lists, in both.
//
// Whatever is refused is refused at once: a reset for TCP, ICMP port
// unreachable for UDP, ICMP prohibited for the rest, ping among it. Refusals are
// counted in [Stats]. One machine has at most 1,024 TCP connections and 512 UDP
// exchanges through the gateway; what comes on top is refused in the same way.
//
// # Names
//
// A machine m0 is found as "m0" and as "m0.<domain>", its address as a PTR
// record; "gateway" is the gateway. Other names without a dot do not exist.
// Under NAT the rest goes to the host's resolvers.
//
// # Non-goals
//
// IPv6, DHCP, ping to the outside, and connections from the outside other than by [Network.Publish] and
// [Network.DialContext].
package vnet
