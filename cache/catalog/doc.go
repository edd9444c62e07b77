// Package catalog answers from which images an environment could be made, out of
// files alone.
//
// A [Catalog] is the images that a cache listed at one moment: an index of most
// of them (package index), an index of those that came since, and which went
// since. The database has the same; what a catalog saves is opening it, which
// costs a process that has just started as much as all the rest of the answer.
//
// # What is published
//
// Beside the large index, index/N, lies a small file, index/current ([Published]):
// the generation of the list of images, N, what came and went since N was written,
// and which database it is of ([Identity]). It is there only while it is true:
//
//   - It is written and removed under one flock(2), locks/current. Whoever is about
//     to commit another list takes the lock, removes the file, commits, and gives the
//     lock back. Whoever writes the file takes the lock, looks whether the generation
//     is still that of what it has read, and renames the file into place.
//   - So a process that is killed leaves either a file that is true, or none; where
//     there is none, the database is asked, and the file is written again.
//   - A crash of the host may undo the commit and not the file, or the other way
//     round. The file therefore names the boot in which it was written
//     (/proc/sys/kernel/random/boot_id, random(4)), and counts in no other.
//   - A database that was moved here from elsewhere is another inode.
//
// Whoever reads the file takes no lock: its answer is that of the moment at which
// the file was opened. A candidate is a hint besides; that it is there is seen when
// it is found by its key.
package catalog
