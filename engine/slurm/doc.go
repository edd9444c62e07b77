// Package slurm gets the hosts of a job from Slurm, as an ordinary user with
// nothing but Slurm's commands, or its service, and runs the job there by package
// engine.
//
// # What happens
//
//	salloc --no-kill ... sh        the lease: lives as long as its standard input
//	  srun --overlap ... sh        on each host: this program, if the same file is
//	    ore node --lease             there, or what sbcast brought there
//
// [Engine.Reserve] asks for tasks of a machine's size, so that Slurm's own
// accounting of cores and memory says which hosts take how many machines, and
// then starts an agent on each host (package node/agent). Their keys, of an
// authority made for this job alone, go to them by standard input. From then on
// the hosts are like any others: package engine does the rest.
//
// # By the service
//
// Where slurmrestd is asked ([Settings].REST; package rest), there are no pipes to
// srun, and what stands for them is one TCP connection:
//
//	POST job/submit                a batch script, with the agents' keys
//	  script -> this process       token, what Slurm gave, whether the program is there
//	  script <- this process       addresses, the program if need be
//	  sbcast, srun ore node        their input is the keys, then the connection's end;
//	                               what they say comes back over it
//
// So agents end in order when the connection does, however that comes about, and the
// script with them, and the allocation with that. The token and the keys go by the
// service, whose connection is the site's to protect (TLS or a socket); what goes
// over the script's is no secret, and the program is what its SHA-256 says. A job that
// still waits when this process is killed begins, finds nobody and ends. Hosts of
// earlier runs cannot be named in this way; a feature that marks them is preferred.
//
// # Which hosts
//
// Hosts that had the images of earlier runs are preferred where that costs no
// waiting: those of them that are free at the moment are named to Slurm in a
// request that is granted at once or taken back, before one without names. A site
// that marks such hosts by a feature ("ore-" and the beginning of a key) has that
// used instead.
//
// # What ends it
//
// Whoever ends salloc's command ends the allocation: that is a shell that waits
// for the end of its standard input, whose other end this process holds. So the
// allocation goes back at once when the job ends, and when this process is killed
// in any way; the agents have the same, and their leases beside. While Slurm's
// controller is away nothing is lost, since nobody asks it anything until the
// end. When Slurm ends the allocation (scancel, time, preemption), what fails of
// that is told with Slurm's reason. It is never put back into the queue: Slurm does
// that with batch jobs only, and of the service's job it is told not to.
// A host that fails costs its own machines: neither allocation nor step ends with it
// (--no-kill).
//
// Comments of the allocation name the job and the key of its environment, for
// accounting: "ore job=ID key=KEY".
package slurm
