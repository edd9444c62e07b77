// Package engine runs jobs on hosts elsewhere that have an agent (package
// node/agent): it chooses hosts, brings them what they lack by the chain, and
// places machines, again on other hosts if one is lost.
//
// Where agents come from it does not know: from an operator who started them, or
// from a batch system (package engine/slurm).
//
// # What happens
//
// [Engine.Reserve] makes the job known to all agents, sends what machines are
// started with (kernel, hypervisor, empty disk: a kit) beside the making of the
// image, waits for the image, and places the machines: those hosts come first
// that hold the image's layers and have cores free, the memory of none is
// promised twice, and a host that failed takes no part. Hosts that get nothing
// stay at hand for machines whose host is lost. [Engine.Distribute] sends layers and inputs. Each blob leaves its
// source once: this host, or one of the agents' if it has it.
//
// # What fails
//
// A host that is lost before the machines run is replaced by the others, if
// these have room; later it costs its own machines, and if the job has retries
// these start on another host. A host on which a machine did not start is not
// tried again while there are others. [cluster.Node]s of the engine hide this:
// they pass what is asked of a machine to the host where it is at the moment.
//
// All that an agent has of a job ends with Release, and with the lease if nobody
// is left to say so.
package engine
