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
// # What is sent first
//
// The first machines that run an image are watched ([Config].First): which pieces
// of its layers they read until some seconds after their start is taken down
// (package image/early). When the image is sent again these pieces go first, those of
// all layers before the rest of any, and a host is judged once something has come
// ([Outlook]): if waiting for the rest, at the rate at which it came until now, takes
// longer than reading it as it comes costs, its machines start, and read their layers
// in a folder that waits for what is missing (package node/lazy). They do so while
// what they read first is still under way, unless that takes long: it comes in the
// order in which they read it. All hosts of a job start together, so the last one decides.
// Where it does not pay, is not possible or was ruled out, machines wait, and the
// events say so. What comes is verified chunk by chunk by a list that this host
// made, or has seen before, and as a whole at the end; what another host cut is not
// read before that.
//
// Machines that install themselves pour layers onto their disks, each of which they
// read once and compare with its digest as a whole. Nobody needs to have watched them:
// the tables at a layer's end go first, then the rest in its order, behind all that
// the machines boot from. They start when it is known how fast that comes, and write
// while it does, so that the last host's tree is there hardly later than its last byte
// has come. Packages in a bundle are waited for.
//
// # What fails
//
// A host that is lost before the machines run is replaced by the others, if
// these have room; later it costs its own machines, and if the job has retries
// these start on another host. A host on which a machine did not start is not
// tried again while there are others. [cluster.Node]s of the engine hide this:
// they pass what is asked of a machine to the host where it is at the moment.
//
// If what machines need while they run comes from nobody any more, they are ended,
// and lost like those of a lost host: until then they wait, and see neither wrong
// bytes nor a broken disk. Those that only pour it onto their disks are told instead: they
// make these of packages, where they reach any.
//
// All that an agent has of a job ends with Release, and with the lease if nobody
// is left to say so.
package engine
