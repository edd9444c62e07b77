// Package testbed makes many hosts out of one, for tests, benchmarks and people
// who want to try what takes many. It needs root and Debian's iproute2; checking
// the rate of links needs iperf3.
//
//	head      h1        h2       ...  each has a PID, mount, UTS, IPC and network
//	  |        |         |            namespace of its own, and a name
//	  +--------+---------+-- switch   a bridge, alone in a network namespace
//
// A host is a process, the first of its PID namespace: when it is killed, all
// that runs on the host is gone at once, as when the power fails ([Bed.Crash]);
// its place on the network stays, and [Bed.Boot] turns it on again. [Bed.Part]
// pulls the cable, [Bed.Heal] plugs it in. Links are shaped at both ends by a
// token bucket (tc-tbf(8)). Hosts share this host's files, except what
// Config.Private names and /run and /dev/shm, as hosts of a cluster share a home.
//
// The host called head is like the others and meant for what is there once: the
// source of images, a controller, the user's login. With Config.Join this host
// has a port of the switch too, and an address there.
//
// # What stays
//
// A bed is known by its folder below /var/lib/ore-testbed, which holds what is
// needed to remove it. A bed belongs to the process that made it, and its hosts
// die with that process, unless Config.Keep says otherwise. What a killed
// process left (namespaces, the folder) is removed by whoever makes or lists
// beds next. Beds have switches and subnets of their own: they do not disturb
// each other but by the load on this host.
package testbed
