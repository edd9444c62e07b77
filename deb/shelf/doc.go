// Package shelf is the tool shelf: programs, kernels and plain files taken
// from verified Debian packages and used in place, by an ordinary user, on
// hosts that need not be Debian and have nothing installed.
//
// A [Shelf] keeps trees, one for each package that was asked for, under its
// folder:
//
//	trees/KEY/             the package and what its programs need, unpacked
//	trees/KEY/.shelf.json  which packages these are; written last
//	chosen/HASH            the tree that a package name stands for, per archive state
//	locks/HASH             one builder a package, across processes
//	new/HASH               a tree in the making
//
// A tree holds the package itself and, level by level of its Depends, as many
// further packages as its programs' libraries come from; the rest of the
// closure (maintainer tools, init scripts) is left out. A package that brings
// nothing but its documentation stands for those that it depends on, as
// linux-image-amd64 does.
//
// # Running programs
//
// The kernel reads an ELF program's interpreter, which is the dynamic loader,
// from the place in the file that PT_INTERP's p_offset names, and nothing else
// reads it from there (elf(5); fs/binfmt_elf.c). So the absolute path of the
// tree's own loader is appended to each program and p_offset and p_filesz are
// made to say so: any length fits, the working folder does not matter, and
// nothing that is mapped into memory moves. Running the loader with the program
// as its argument would be simpler, but User Mode Linux takes the memory behind
// the program break for its own, and then the break is the loader's. Libraries
// are found through LD_LIBRARY_PATH, which [Program.Command] sets.
//
// # Whole or not at all
//
// A tree is built under new/ while its lock is held, checked against the
// packages' digests, flushed to the disk and renamed. A builder that is killed
// leaves its folder under new/ unlocked; the next [Open] removes it.
package shelf
