package ext4

import (
	"context"
	"encoding/binary"
	"io"
)

// used returns how many blocks of group i, from its first, are in use. Blocks
// are given out in their order, so they have no gap.
func (l *Layout) used(i uint32) uint32 {
	first := i * groupBlocks
	return min(max(l.dataStart(i), l.next), l.groupEnd(i)) - first
}

// usedInodes returns how many inodes of group i, from its first, are in use.
func (l *Layout) usedInodes(i uint32) uint32 {
	total := uint32(firstInode - 1 + len(l.files))
	first := i * l.perGroup
	return min(total-min(total, first), l.perGroup)
}

// inodeAt returns the file of inode number n, or nil for a reserved one.
func (l *Layout) inodeAt(n uint32) *file {
	switch {
	case n >= firstInode:
		return l.files[n-firstInode]
	case n == rootInode:
		return l.root
	case n == journalInode:
		return l.journal
	}
	return nil
}

// writeGroups writes what the groups begin with, the first group last.
func (l *Layout) writeGroups(ctx context.Context, w io.WriterAt) error {
	folders := make([]uint32, l.groups)
	for _, f := range l.all() {
		if f.Mode.IsDir() {
			folders[(f.inode-1)/l.perGroup]++
		}
	}
	descriptors := make([]byte, l.descBlocks*blockSize)
	var freeBlocks, freeInodes uint32
	for i := range l.groups {
		d := descriptors[i*descriptorSize:]
		blocks := l.groupEnd(i) - i*groupBlocks - l.used(i)
		inodes := l.perGroup - l.usedInodes(i)
		at := l.bitmaps(i)
		le := binary.LittleEndian
		le.PutUint32(d[0:], at)
		le.PutUint32(d[4:], at+1)
		le.PutUint32(d[8:], at+2)
		le.PutUint16(d[12:], uint16(blocks))
		le.PutUint16(d[14:], uint16(inodes))
		le.PutUint16(d[16:], uint16(folders[i]))
		freeBlocks += blocks
		freeInodes += inodes
	}
	for i := l.groups; i > 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.writeGroup(w, i-1); err != nil {
			return err
		}
		if err := l.writeSuper(w, i-1, descriptors, l.superblock(freeBlocks, freeInodes)); err != nil {
			return err
		}
	}
	return nil
}

// writeGroup writes group i's bitmaps and inodes.
func (l *Layout) writeGroup(w io.WriterAt, i uint32) error {
	at := int64(l.bitmaps(i)) * blockSize
	used := l.usedInodes(i)
	b := make([]byte, 2*blockSize+int(used)*inodeSize)
	setBits(b[:blockSize], 0, l.used(i))
	setBits(b[:blockSize], l.groupEnd(i)-i*groupBlocks, groupBlocks)
	setBits(b[blockSize:], 0, used)
	setBits(b[blockSize:], l.perGroup, groupInodes)
	table := b[2*blockSize:]
	for n := range used {
		if f := l.inodeAt(i*l.perGroup + n + 1); f != nil {
			inode := f.inodeBytes()
			copy(table[n*inodeSize:], inode[:])
		}
	}
	_, err := w.WriteAt(b, at)
	return err
}

// setBits sets the bits from one number to the one before another.
func setBits(b []byte, from, to uint32) {
	for ; from < to && from%8 != 0; from++ {
		b[from/8] |= 1 << (from % 8)
	}
	for ; from+8 <= to; from += 8 {
		b[from/8] = 0xff
	}
	for ; from < to; from++ {
		b[from/8] |= 1 << (from % 8)
	}
}

// writeSuper writes the descriptors and the superblock if group i has them.
func (l *Layout) writeSuper(w io.WriterAt, i uint32, descriptors, super []byte) error {
	if !hasSuper(i) {
		return nil
	}
	at := int64(i) * groupBlocks * blockSize
	if _, err := w.WriteAt(descriptors, at+blockSize); err != nil {
		return err
	}
	binary.LittleEndian.PutUint16(super[90:], uint16(i))
	if i == 0 {
		at += 1024 // behind the place of a boot sector
	}
	_, err := w.WriteAt(super, at)
	return err
}

// Features, as Documentation/filesystems/ext4/super.rst numbers them.
const (
	compatJournal  = 0x4
	compatAttr     = 0x8
	compatDirIndex = 0x20

	incompatFileType = 0x2
	incompatExtents  = 0x40

	roSparseSuper = 0x1
	roLargeFile   = 0x2
	roDirLinks    = 0x20
	roExtraInode  = 0x40
)

// superblock returns the superblock. Its times are that of the root, so that
// they depend on the tree alone.
func (l *Layout) superblock(freeBlocks, freeInodes uint32) []byte {
	b := make([]byte, 1024)
	le := binary.LittleEndian
	put := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	put(0, l.perGroup*l.groups)
	put(4, l.blocks)
	put(12, freeBlocks)
	put(16, freeInodes)
	put(24, 2) // blocks are 1024 << 2 bytes
	put(28, 2)
	put(32, groupBlocks)
	put(36, groupBlocks)
	put(40, l.perGroup)
	put(48, uint32(l.root.ModTime))
	le.PutUint16(b[54:], 0xffff) // no check after so many mounts
	le.PutUint16(b[56:], 0xef53)
	le.PutUint16(b[58:], 1) // clean
	le.PutUint16(b[60:], 1) // on errors go on
	put(64, uint32(l.root.ModTime))
	put(76, 1) // revision: features and inode sizes
	put(84, firstInode)
	le.PutUint16(b[88:], inodeSize)
	put(92, compatAttr|compatDirIndex)
	put(96, incompatFileType|incompatExtents)
	put(100, roSparseSuper|roLargeFile|roDirLinks|roExtraInode)
	copy(b[104:], l.o.ID[:])
	copy(b[120:136], l.o.Label)
	copy(b[236:], l.o.ID[:]) // the seed of hashes of names
	b[252] = 1               // half MD4
	put(256, 0xc)            // mount with user attributes and ACLs
	put(264, uint32(l.root.ModTime))
	le.PutUint16(b[348:], extraSize)
	le.PutUint16(b[350:], extraSize)
	put(352, 1) // hashes take characters as signed
	if l.journal != nil {
		put(92, compatAttr|compatDirIndex|compatJournal)
		put(224, journalInode)
		b[253] = 1 // a copy of the journal's place follows
		inode := l.journal.inodeBytes()
		copy(b[268:], inode[blockField:][:60])
		put(268+60, uint32(l.journal.Size>>32))
		put(268+64, uint32(l.journal.Size))
	}
	return b
}
