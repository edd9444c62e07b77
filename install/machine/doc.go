// Package machine makes a blank machine the one that a recipe describes. It runs
// on that machine, in the installer, and goes through these stages, each of which
// is reported as it begins, advances and ends:
//
//	installer start  the recipe is read
//	hardware         modules for what the kernel shows are loaded, disks are found
//	partition        tables, arrays and volumes are made        (package disk)
//	format           file systems are made, and mounted
//	base             an image is written while it comes         (package pour),
//	                 or that of the whole disk                  (package diskimage)
//	packages         what it lacks is installed                 (package onto)
//	scripts          the environment's files and steps
//	configure        what makes it this one machine             (package configure)
//	restart          all is on the disk, and marked so
//
// With a disk image, which fits one layout alone, only those file systems are made
// that are none of its; on disks that it does not fit, the tree is written. Its file
// systems are there at the end of base at once, and mounted after that.
//
// Files and steps come before what is this machine's own, since they belong to
// the tree that an environment has everywhere. The last report is the begin of
// the restart, or a failure: that the machine is ready is for its first process
// to say.
//
// Who listens gives a machine up that says nothing for long. So how far a stage is is
// told again while programs that say nothing move bytes, or a disk takes some that is
// waited for ([pulse]): what hangs, waiting or in a loop, is not heard, whatever the
// kernel writes meanwhile.
//
// # What is never destroyed, and what is never believed
//
// Nothing is written before it is known that all fits and that no foreign data is
// lost (package disk says what that is). A disk is marked as installed only when
// everything is unmounted and has reached it. Until then a machine that starts
// again starts over, from the first write on, since nobody can say what of the
// later ones it lost; afterwards it changes nothing, if the recipe is one with the
// same digest. So no half machine is ever taken for a whole one.
//
// That packages or steps failed costs no more than that: as long as the machine
// runs, another install goes on with them ([Options].Keep): by the same recipe, or by
// one with other packages, files or steps that says which one began. Arrays and groups
// are stopped between the two, and started again.
//
// # What is left behind
//
// Nothing: whatever comes, also when ctx ends, everything mounted is unmounted,
// processes that programs left in the tree are killed, and arrays and groups are
// stopped. Who is killed can do none of that, so the installer is to run in
// namespaces of its own for mounts and processes, which end with it.
package machine
