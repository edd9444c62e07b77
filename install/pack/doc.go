// Package pack keeps decoded packages. A .deb is decoded once, ever; what
// remains is a pack of two files:
//
//	<sha256 of the .deb>.squashfs   the content of every regular file, compressed
//	                                as layers are, the n-th entry under the name n
//	<sha256 of the .deb>.gob        the entries in the archive's order with the
//	                                hash of each content, and the control member
//
// So a layer of known packages is mostly a concatenation of stored blocks
// ([ore/squashfs.Writer.AddFrom]), and its listing needs no hashing.
//
// Packs are a cache: each may be deleted at any time and is made again from its
// .deb. The second file is renamed into place after the first, so a pack exists
// whole or not at all; two processes that make the same one write equal bytes.
package pack
