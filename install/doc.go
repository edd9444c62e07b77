// Package install makes layers from a lock: it unpacks Debian packages, runs
// their maintainer scripts in a sandbox, adds files, runs steps, and seals what
// came of it.
//
// # The way of a build
//
// [Builder.Build] starts the own executable again as a worker inside a
// [ore/install/sandbox], where it is root or believed to be, and [Worker] does
// the work:
//
//	packs      every package is decoded once ever (package pack)     in parallel
//	base       the base set is unpacked into a tree and configured
//	layer 1    the tree is sealed                                    beside the next
//	packages   the others are unpacked over it and configured
//	layer 2    what differs from the base is sealed
//	files      the files of the environment are added: layer 3
//	steps      the steps run, one after the other:     layer 4
//
// It is always done in these two phases, so that a build that finds the base
// layer in the store and one that makes it have the same result. The base's
// tree is kept as a disposable cache. A phase lies over the one before by an
// overlay mount; what it changed is found in the overlay's upper folder.
//
// Unpacking is ours and follows dpkg's rules (dpkg's src/main/archives.c);
// configuring is dpkg's own: it finds its database (package dpkg) as its
// --unpack leaves it. Scripts run without network and without services: the
// tree has a policy-rc.d that forbids all and a start-stop-daemon that does
// nothing while they run. Nothing is synced to the disk until the sealed layer
// is: a build that is interrupted leaves a folder that the next one removes.
//
// # What runs beside what
//
// Maintainer scripts run one after the other, as dpkg runs them, and it is they
// that everything waits for. So while those of the base run, the packages over it
// are decoded on threads that give way (package beside), and the modules of a
// Python among them are compiled on all cores (package bytecode), once ever. What
// packages say of themselves is read before they are decoded: what the compiler
// needs and what must be configured first is decoded first (package load), and is
// configured while the rest is. Each package is put into the tree as soon as it is
// decoded, and what was compiled is compressed while scripts run. Programs that
// scripts start again and again only to find nothing to do have stand-ins that
// find that faster (package standin). None of this changes a byte of a tree.
//
// # What is kept
//
// Packs, compiled modules, bases' trees and what steps did are kept for later
// builds, and [Builder.Prune] bounds them (package kept). A step's result is found
// by its text and that of all that it needs (package graph), and by the image below, if
// any: a step that failed is tried again without its ancestors. An image that has run
// some is gone on upon, too, wherever it was made, if each other sees all of it or nothing.
//
// # Starting from another image
//
// A build may start from an image with other packages (Request.From): its layers
// are laid over the base, dpkg removes what it has too much, what it lacks is
// installed, and the difference becomes one layer more. The tree is that of a
// build from the base, or the build is refused and starts from the base: package
// exact says what has to be known for that, before and after. What no order of
// packages may change is brought into order in every build: numbers of users
// (package accounts), lists of lines (package normal), apt's states.
//
// # What a tree depends on
//
// The tree digest depends on the lock alone. What scripts make differ is
// normalised (see normal.go): logs, caches with times in them, backups,
// identities that each machine must make for itself. Scripts see
// SOURCE_DATE_EPOCH, the newest time in the base's packages, which the
// passwd tools and Python honour, and entries that packages did not bring get
// that time.
//
// # Plain files
//
// A machine that installs itself builds on its own disk, and wants the tree there
// and no layers ([Request].Into, Unsealed). Then nothing is made in memory, and at
// the end each file is moved to its place from whichever of the phases' folders
// has it (package plain); the tree digest is that of any other build.
//
// # What is left of apt
//
// A tree has no /etc/apt/sources.list for the base's mirror: which mirror was
// used is no part of the lock. Further repositories are written to
// sources.list.d with their keys. Packages that were not asked for are marked
// in /var/lib/apt/extended_states as apt would.
package install
