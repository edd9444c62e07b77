// Package figures is the command 'ore bench figures': it measures on this site what
// the figures of the system from which ore descends showed, and draws them.
//
// # The figures
//
// Each shows N machines that install themselves onto their disks, for some N, as
// stacked bars of their stages:
//
//	2  every machine installs from packages, which it fetches for itself
//	4  every machine is written the cached tree, which it fetches for itself
//	5  the same tree, which crosses the source's link once: by the chain
//	6  the same as 4 behind a link of 500 kbit/s
//
// # Where
//
// By default all machines are on this host, under User Mode Linux, and what they
// fetch crosses a link that the depot keeps to its rate in user space; the chain is
// then this host, which gives each byte on as it comes. With --hosts, as root, each
// machine is on a host of a test bed (package testbed), whose links the kernel
// shapes, with an agent of its own, and the chain is that of package engine. In
// both, all machines share the cores of this computer: what grows with their number
// is the links' share and the cores', and a row says how loaded the cores were.
//
// # Rows
//
// Each measurement is a line of rows.jsonl as soon as it is there. The first line
// says what was asked for; the same command goes on where an earlier one ended, and
// another one is refused. Drawings and tables are made of rows alone, at every end.
package figures
