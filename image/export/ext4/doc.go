// Package ext4 writes a file system that the kernel's ext4 mounts, in one pass
// and without any external program.
//
// The whole tree is known before the first byte is written, so everything has
// its place at once and nothing is ever moved: [Plan] numbers the inodes and
// gives out the blocks one after another, [Layout.Write] writes them. What is
// free lies behind what is used. The bytes depend on the entries and the
// options alone.
//
// # What is written
//
// Blocks of 4 KiB, groups of 128 MiB, inodes of 256 bytes. Content is mapped by
// extents. There is a journal, of the size that mke2fs would choose, a folder
// lost+found for e2fsck, and superblocks in the groups that sparse_super names.
// Features that only make a new file system quicker to make (flex_bg, uninit_bg)
// are left out: a file with holes is as quick. Folders have no hash index; the
// kernel adds it to those that grow. A file's security.capability stands in its
// inode. Content that is zero has blocks, but they are not written, so that a
// file with holes or a disk format that can leave clusters out stays small.
//
// The format is the kernel's: Documentation/filesystems/ext4/, and for the
// journal the same folder's journal.rst. All numbers are little-endian, those
// of the journal big-endian.
package ext4
