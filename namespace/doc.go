// Package namespace starts the program that calls it a second time, inside new
// Linux namespaces, so that a group of processes has one beginning and one end.
//
// [Start] runs /proc/self/exe with other arguments. With a PID namespace the
// new process is the first one in it, and when the first process of a PID
// namespace ends the kernel kills all others in it before anybody can wait for
// the first (pid_namespaces(7)). So a whole job ends with its supervisor.
//
// The supervisor in turn ends with the process that started it, in two ways
// that fail in different cases:
//
//   - A parent death signal (PR_SET_PDEATHSIG, prctl(2)). It works even when
//     the new process hangs, but it tells of the death of a thread, not of a
//     process; Start therefore keeps one thread for each process it started.
//   - A lifeline: a socket pair of which each side holds one end. When the
//     starter is gone the new process reads the end of file and exits.
//
// The new process calls [Enter] as the first thing in main (and, for tests, in
// TestMain); in a process that Start did not start it returns at once. Enter
// mounts a fresh /proc, makes mounts private, brings the loopback interface up
// and reaps orphans, as far as the namespaces at hand ask for it.
//
// # Identities
//
// An ordinary user needs a user namespace before any other. Which ids exist in
// it is chosen by [IDs]: the user's own id under its own number (files made
// inside belong to the user, and nothing inside is root), the user's own id as
// root, or root and the ranges of subordinate ids that the administrator gave
// the user in /etc/subuid and /etc/subgid (subuid(5)), through the setuid
// programs newuidmap and newgidmap of Debian's package uidmap. Real root needs
// no user namespace at all.
//
// # Hosts that refuse
//
// Containers and hardened hosts refuse some of this. [Probe] finds out by
// doing it, and says why it does not work and what would help. Start returns
// an error that is [ErrRefused]; the caller may then start the same thing with
// Options.Kinds zero. Such a process still dies with its starter, adopts the
// orphans below it, and is followed by a sweep: Wait kills every process that
// carries the same Options.Mark in its environment. What escapes a kill of
// both sides at once, [Sweep] finds at the next start.
package namespace
