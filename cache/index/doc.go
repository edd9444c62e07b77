// Package index finds, among many images, those whose packages have the most
// in common with a set, without reading the images' lists.
//
// It hides a file format and a search. A file holds, for the images of one
// moment, which image has which package; package cache keeps what came and went
// since then beside it, and writes the next file now and then. A process that
// has just started maps the file and asks: nothing is parsed.
//
// # Search
//
// Images that could never serve a set, because their base or architecture is
// another, are of another kind and apart. Within a kind the file has columns:
// which images have this package. Packages that always come together, as the
// base set does, share one column; a column that more than half of the images
// have is kept as the list of those that lack it. A search adds up weights
// along the columns of the asked packages, so that its cost grows with what
// tells images apart and not with the size of the sets.
//
// # File
//
// Little-endian. A header: the magic, the CRC-32C of everything up to the lists,
// and the offsets of the sections:
//
//	hashes    u64 each: Hash of every package, ascending
//	ids       u32 each: the id of the package with that hash
//	kinds     kind u64, then first and count (u32) of its images, packages, columns
//	images    id u64, number of packages u32, offset u32 into notes
//	packages  u32 each: ids of the kind's packages, ascending
//	columns   u32 each: the column of that package, counted within the kind
//	named     for each image its name u64 and place u32, ascending
//	lists     for each column the offset u32 and length u32 of its list, 1 if it lists who lacks it, CRC-32C
//	members   the lists: differences between image numbers as uvarint
//	byid      id u32 and offset u32 into names, ascending by id
//	names     for each package: CRC-32C, length of the rest, size, name, version, arch, 1 and the digest's sum, or 0 and its text
//	notes     for each image: CRC-32C, length of the rest, length of its set, set, note
//
// A list's CRC is over its column's number, the entry before the CRC, and the
// list; a name's or note's over the id or place and the rest. So that most of the
// file, the lists, names and notes, is read and checked only where a question leads: a process that
// asks once reads a tenth of it.
//
// A package is known by 64 bits of a SHA-256 over its name, version,
// architecture and digest. An index is read concurrently by any number of
// goroutines.
package index
