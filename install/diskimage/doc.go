// Package diskimage makes the image of a machine's whole disk from that of its
// tree, and writes it: what a machine writes that makes neither file systems nor
// files.
//
// # What it is
//
// A disk is made of what all machines have in common that get the same tree on the
// same partitions, and of what is one machine's own. The image is the first: for
// each partition with ext4, in [Shape], all blocks of a file system that are in
// use. It is made on the host that made the tree's image, without a machine and
// without root, and its bytes depend on the tree, the shape and the writers'
// versions alone.
//
// Left out is what a machine has alone. Its tables and the identifiers of disks,
// partitions and file systems are written with the image ([Write]); its name, its
// keys, its fstab, its initramfs and its boot loader afterwards, as after any other
// way (package configure). File systems of other kinds, and room to swap to, are
// made as ever: they are empty. Of a tree with files below the mount point of such
// a one there is no disk image, nor of a root on a volume or an array.
//
// # Format
//
// An image as package image has them, of an environment whose base's distribution is
// [Distribution], with one layer: a squashfs with a folder for each partition, named
// by its number in the shape from 001 on, and in it a file for each range of bytes
// that is in use, named by the range's offset in the partition as 12 hexadecimal
// digits. A file's content is the range's; zeros in it are zeros that matter, and
// what is in no file may have any content. Ranges begin and end at multiples of
// 4 KiB and do not overlap. The first of each partition is its first block alone,
// in which is what says that there is a file system.
//
// So a disk image is kept, evicted, proved, signed and sent like any other image:
// its digest is in the manifest's layer, and its key is a hash of the tree's key and
// of the shape ([Environment]), of which the sizes of all its partitions are a part.
//
// # Disks of other sizes
//
// An image fits the layout that it was made for, to the byte ([Shape.Fits]). It is
// neither cut nor grown: to grow a file system costs what the image saves, since its
// new tables of inodes must be written, and another image is made in seconds. A
// machine whose disk is another one writes the tree instead.
//
// # What is trusted, and when
//
// Every byte goes through SHA-256 while it is written. The block that makes a
// partition a file system is kept in memory until the layer has come whole and is
// what its digest says; then it is given the machine's identity, and written last.
// Nothing marks the disk meanwhile but that work on it has begun (package disk).
package diskimage
