// Package slurm gets the hosts of a job from Slurm, as an ordinary user with
// nothing but Slurm's commands, and runs the job there by package engine.
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
// that is told with Slurm's reason. A host that fails costs its own machines:
// neither allocation nor step ends with it (--no-kill).
//
// Comments of the allocation name the job and the key of its environment, for
// accounting: "ore job=ID key=KEY".
package slurm
