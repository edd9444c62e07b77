// Package roster knows the machines that boot from the network: which there
// are, what each is to become, and how far it is.
//
// # The life of a machine
//
//	          asks what to boot           an operator says what it is to be
//	unknown --------------------> waiting ----------------------------------> assigned
//
//	          asks again: is given         reports that it            its first process,
//	          the installer                restarts                   on the disk, says ready
//	assigned ------------> installing ----------------> restarting ----------------> installed
//
// A machine that is assigned before it was ever seen is assigned at once.
// Whoever is waiting, restarting, installed or failed boots from its own disk, or
// waits: [Machine.Next] says what. One that asks again while it is installing
// lost its power, or its kernel died: it starts over, but when an installer has
// called home [Limits].Attempts times, it has failed. One that says nothing for
// [Limits].Silence while installing or restarting has failed too; asking for the
// installer again and again is saying nothing. A failed
// machine stays as it is until an operator assigns it again: a machine that
// installs itself for ever helps nobody.
//
// An installed machine boots from its disk, whatever happens, until it is
// assigned to become something else: assigning what it already is changes
// nothing, unless it is said to be done again.
//
// # Who may report
//
// Each time a machine is given the installer it is given a new secret with it,
// of which the roster keeps the hash. The first report with it begins a try; then
// only who knows that one may report for the machine, until somebody reports with
// one that was given later. Somebody on the same network can ask as if he were a
// machine, as everywhere with PXE, and with the secret that he is given report in
// its place; by asking alone he changes nothing.
//
// # What is kept
//
// All of it, in one file that appears whole, before anybody is told, but for the
// recipes, which are long and have a file each, named by digest. Several
// processes may use one roster at a time: each change is made under a lock on
// the file's newest content. What strangers can fill it with is bounded.
package roster
