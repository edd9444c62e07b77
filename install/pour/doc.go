// Package pour writes the tree of an image as plain files into a folder, which
// is a mounted file system of a machine that installs itself, while the image's
// layers arrive.
//
// # The way of a layer
//
// A squashfs has its tables at its end. So these are asked for first: the first
// bytes of each layer, which say where the tables are, and the tables. Then it
// is known what the merged tree has, in which block of which layer the content
// of each file is, and what an upper layer hides: that is never written. Folders,
// links and devices are made, and each layer is read once from its first block
// to its last. As soon as a block has come it is expanded, on one of the cores,
// and written to all the files that have a part of it. No layer is kept: a
// bounded number of blocks is in memory, and the tables.
//
// # What is trusted
//
// Every byte of a layer goes through SHA-256, and a layer that is not what its
// digest says fails the whole. By then most of the tree has been written: after
// an error nothing in the folder is to be used, and it is best made anew. Names
// come from tables that are proved only at the end, but no name leads out of the
// folder, and nothing that is there before is written to: only folders may be,
// such as those on which other file systems are mounted.
//
// # Ranges
//
// [Ranges] writes a layer in the same way whose files are ranges of something larger,
// such as partitions (package diskimage): where each goes is for the caller to say, and
// zeros are written, too.
//
// # What comes of it
//
// The same names, types, contents, modes, owners, links and capabilities as the
// image's tree digest was made of, and the times of its layers. Content that is
// all zeros takes no room. Nothing is synced to the disk.
package pour
