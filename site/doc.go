// Package site wires the parts together: from a [Config] it makes the concrete
// archive, cache, tool shelf, hypervisors and engine of this host. It is the
// only package that names drivers and engines.
//
// # Folders
//
// State lives below ORE_HOME if that is set, else in the folders of the XDG
// base directory specification:
//
//	cache    ORE_HOME/cache    XDG_CACHE_HOME/ore    packages, packs, tools, trees: can be made again
//	images   ORE_HOME/images   XDG_DATA_HOME/ore     the image cache
//	state    ORE_HOME/state    XDG_STATE_HOME/ore    records of jobs, learned rates
//	run      ORE_HOME/run      XDG_STATE_HOME/ore/run  one folder a job that runs: its socket and disks
//
// Not XDG_RUNTIME_DIR, since that is usually a small tmpfs and machines' private
// disks, sparse files that may grow, lie in the run folder.
//
// # User Mode Linux
//
// It comes from Debian's newest stable suite, whatever the host runs, since that
// one's kernel is much faster; where the mirror does not have it, from the suite
// of the tools. ORE_UML_SUITE names another one, for which nothing stands in. A
// lock names the suite of its kernels and has them started.
package site
