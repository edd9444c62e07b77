package ext4

import (
	"encoding/binary"
	"io/fs"
)

// How many extents fit into an inode and into a block (struct
// ext4_extent_header and ext4_extent have 12 bytes each).
const (
	inodeExtents = 4
	leafExtents  = (blockSize - extentSize) / extentSize
	extentSize   = 12
	extentMagic  = 0xf30a
)

// Places in an inode.
const (
	extentsFlag = 0x80000
	blockField  = 40  // i_block: extents, or a symbolic link, or a device's numbers
	extraField  = 128 // what the inode has beyond ext2's 128 bytes
	extraSize   = 32
	attrField   = extraField + extraSize
)

// inodeBytes returns f's inode.
func (f *file) inodeBytes() [inodeSize]byte {
	var b [inodeSize]byte
	le := binary.LittleEndian
	size := f.Size
	switch {
	case f.Mode.IsDir():
		size = int64(f.blocks) * blockSize
	case f.Mode&fs.ModeSymlink != 0:
		size = int64(len(f.Link))
	case !f.Mode.IsRegular():
		size = 0
	}
	links := f.links
	if links > maxLinks {
		links = 1 // of folders: too many to count (dir_nlink)
	}
	le.PutUint16(b[0:], unixMode(f.Mode))
	le.PutUint16(b[2:], uint16(f.UID))
	le.PutUint32(b[4:], uint32(size))
	le.PutUint16(b[24:], uint16(f.GID))
	le.PutUint16(b[26:], uint16(links))
	le.PutUint32(b[28:], (f.blocks+uint32(len(f.leaves)))*(blockSize/512))
	le.PutUint32(b[108:], uint32(size>>32))
	le.PutUint16(b[120:], uint16(f.UID>>16))
	le.PutUint16(b[122:], uint16(f.GID>>16))
	le.PutUint16(b[extraField:], extraSize)
	// Times have 32 bits and a sign, and two more bits above them beside:
	// access, change, modification, creation.
	epoch := uint32((f.ModTime + 1<<31) >> 32)
	for _, at := range [...][2]int{{8, 140}, {12, 132}, {16, 136}, {144, 148}} {
		le.PutUint32(b[at[0]:], uint32(f.ModTime))
		le.PutUint32(b[at[1]:], epoch)
	}
	if f.fillBlocks(b[blockField:][:60]) {
		le.PutUint32(b[32:], extentsFlag)
	}
	if f.Capability != nil {
		putCapability(b[attrField:], f.Capability)
	}
	return b
}

// fillBlocks writes the field that says where the content is, and says
// whether that is by extents.
func (f *file) fillBlocks(b []byte) bool {
	le := binary.LittleEndian
	switch {
	case f.Mode&fs.ModeSymlink != 0 && f.blocks == 0:
		copy(b, f.Link)
		return false
	case f.Mode&fs.ModeDevice != 0:
		// The old form where it is enough, else the new (new_encode_dev in
		// linux/kdev_t.h) in the second word.
		if f.Major < 256 && f.Minor < 256 {
			le.PutUint32(b, f.Major<<8|f.Minor)
		} else {
			le.PutUint32(b[4:], f.Minor&0xff|f.Major<<8|(f.Minor&^0xff)<<12)
		}
		return false
	case !f.Mode.IsRegular() && !f.Mode.IsDir() && f.Mode&fs.ModeSymlink == 0:
		return false
	}
	if len(f.leaves) == 0 {
		putExtents(b, f.extents, inodeExtents)
		return true
	}
	putHeader(b, len(f.leaves), inodeExtents, 1)
	for i, block := range f.leaves {
		e := b[extentSize*(i+1):]
		le.PutUint32(e, f.extents[i*leafExtents].logical)
		le.PutUint32(e[4:], block)
	}
	return true
}

// leaf returns the i-th block of f's list of extents.
func (f *file) leaf(i int) []byte {
	b := make([]byte, blockSize)
	first := i * leafExtents
	putExtents(b, f.extents[first:min(first+leafExtents, len(f.extents))], leafExtents)
	return b
}

func putHeader(b []byte, n, room, depth int) {
	le := binary.LittleEndian
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[2:], uint16(n))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(depth))
}

func putExtents(b []byte, list []extent, room int) {
	putHeader(b, len(list), room, 0)
	le := binary.LittleEndian
	for i, x := range list {
		e := b[extentSize*(i+1):]
		le.PutUint32(e, x.logical)
		le.PutUint16(e[4:], uint16(x.n))
		le.PutUint32(e[8:], x.start)
	}
}

// putCapability writes security.capability as the only extended attribute of
// an inode (Documentation/filesystems/ext4/attributes.rst). An entry's hash is
// for attributes in blocks and stays 0 here.
func putCapability(b, value []byte) {
	const (
		magic  = 0xea020000
		prefix = 6 // "security."
		name   = "capability"
	)
	le := binary.LittleEndian
	le.PutUint32(b, magic)
	b = b[4:] // places of values are counted from here
	at := (len(b) - len(value)) &^ 3
	b[0], b[1] = byte(len(name)), prefix
	le.PutUint16(b[2:], uint16(at))
	le.PutUint32(b[8:], uint32(len(value)))
	copy(b[16:], name)
	copy(b[at:], value)
}
