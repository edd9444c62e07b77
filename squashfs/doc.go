// Package squashfs writes and reads squashfs 4.0 images, the read-only file
// systems that a machine's layers are, without any external program.
//
// # Writing
//
// A [Writer] takes entries in any order. Content is stored in the order of the
// Adds, cut into blocks that Options.Jobs goroutines compress while the caller
// reads on; a fixed number of blocks is in flight, so memory does not grow with
// the content. Directories are assembled by Close. The bytes of an image depend
// on the sequence of Adds, on BlockSize, Compression and Level, and on the
// version of this package and its compressors, on nothing else: not on Jobs,
// the time or the machine.
//
// Files shorter than a block are packed together into fragment blocks; longer
// files have blocks of their own to the end, so that a file's stored bytes do
// not depend on its neighbours. Blocks of zeros are not stored.
// [Writer.AddFrom] takes a file from another image without recompressing it: an
// image made of the files of many images is mostly their concatenation.
//
// # Reading
//
// A [Reader] reads what Writer writes and what mksquashfs writes with gzip, xz,
// lz4 or zstd. Opening an image walks its whole tree once; an image that is
// damaged or hostile gives an error and costs no more memory than a small
// multiple of its own size.
//
// # The format
//
// The format is the kernel's: Documentation/filesystems/squashfs.rst and
// fs/squashfs/squashfs_fs.h. All numbers are little-endian. An image is
//
//	superblock, compressor options, data and fragment blocks, inode table,
//	directory table, fragment table, export table, id table
//
// Inodes, directories and tables are streams of metadata blocks of 8 KiB, each
// compressed on its own, with a 16-bit header.
//
// Extended attributes are neither written nor read: the kernel of User Mode
// Linux has no support for them in squashfs, so an image must not depend on
// them. A deletion in a layer is a character device 0:0.
package squashfs
