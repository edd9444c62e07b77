// Package guest is the host's side of a machine: what a machine is told at its
// start ([Identity]), and the conversation with the ore-init that runs in it
// ([Conn]): run commands, bring files in and out, switch off.
//
// The conversation runs over home, a byte stream which the hypervisor's driver
// opened, so that a job which breaks its own network does not lose its
// machine. Package guest/wire defines what is said there; guest/inside is the
// machine's side.
//
// A machine may be hostile: its job is root in it. Everything that comes from
// it is bounded, is never trusted as a path or a number, and its failure is
// the failure of one machine.
//
// # What a process finds in a machine
//
//   - Its work folder is /job unless said otherwise.
//   - What the job mounts ([Mount]) is at its path, read-only and root's.
//   - PATH, HOME, USER, LOGNAME, SHELL and LANG=C.UTF-8 are set.
//   - Each secret is a file in memory that only the process's user can read:
//     /run/ore/secrets/NAME. The variables NAME and NAME_FILE hold its path.
//   - /run/ore/bin stands last in PATH and holds ore-rsh, and the same program
//     as ssh and rsh, for images that have neither: it runs a command on
//     another machine of the job, by name, without a password, and passes
//     input, output and exit code through. The command starts in /job, as the
//     user who asked.
//   - /run/ore/hosts names all machines of the job, one a line, in the order
//     of their ranks. Open MPI and MPICH find their own forms of it and the
//     launcher by environment variables (OMPI_MCA_..., HYDRA_...), so that an
//     ordinary mpirun uses all machines.
//
// # When a command ends
//
// [Conn.Exec] ends when the main process has ended and its output has been
// read. Processes that it left running go on, so that one command may start a
// server which the next one uses; what they write later is thrown away, and
// they end with the machine. [Command.Sweep] ends them instead.
package guest
