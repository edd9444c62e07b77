package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Constants of the format (fs/squashfs/squashfs_fs.h).
const (
	magic          = 0x73717368
	versionMajor   = 4
	superblockSize = 96
	metaSize       = 8192    // content of a metadata block
	metaRaw        = 1 << 15 // in a metadata header: stored uncompressed
	blockRaw       = 1 << 24 // in a block's size: stored uncompressed
	absent         = 1<<64 - 1
	noFragment     = 1<<32 - 1
	noXattr        = 1<<32 - 1

	minBlockSize = 4 << 10
	maxBlockSize = 1 << 20

	fragmentSize  = 16  // bytes of an entry of the fragment table
	dirHeaderSize = 12  // bytes of a header in a directory
	dirEntrySize  = 8   // bytes of a directory entry before its name
	maxDirRun     = 256 // entries under one directory header
	maxName       = 255 // NAME_MAX of Linux; the format has room for 256
	maxLink       = 4095
	maxIDs        = 1<<16 - 1 // the superblock counts them in 16 bits
	emptyDirSize  = 3         // a directory's size counts "." and ".." as 3 bytes

	// maxBlocks is how many blocks a file may have: 4 TiB with the default
	// block size. It bounds the memory that the list of its blocks takes.
	maxBlocks = 1 << 24

	// padding makes the image fit for a loop or block device, as mksquashfs does.
	padding = 4096
)

// Flags of the superblock.
const (
	flagRawInodes    = 1 << 0
	flagRawData      = 1 << 1
	flagRawFragments = 1 << 3
	flagNoFragments  = 1 << 4
	flagExportable   = 1 << 7
	flagRawXattrs    = 1 << 8
	flagNoXattrs     = 1 << 9
	flagOptions      = 1 << 10
	flagRawIDs       = 1 << 11
)

// Types of inodes. The extended ones are the basic ones plus extended.
const (
	typeDir      = 1
	typeFile     = 2
	typeSymlink  = 3
	typeBlockDev = 4
	typeCharDev  = 5
	typeFifo     = 6
	typeSocket   = 7
	extended     = 7
)

// superblock is the image's first 96 bytes in the order they are stored.
type superblock struct {
	Magic       uint32
	Inodes      uint32
	ModTime     uint32
	BlockSize   uint32
	Fragments   uint32
	Compressor  uint16
	BlockLog    uint16
	Flags       uint16
	IDs         uint16
	Major       uint16
	Minor       uint16
	Root        uint64
	BytesUsed   uint64
	IDTable     uint64
	XattrTable  uint64
	InodeTable  uint64
	DirTable    uint64
	FragTable   uint64
	ExportTable uint64
}

func (s *superblock) encode() ([]byte, error) {
	return binary.Append(nil, binary.LittleEndian, s)
}

var errNotSquashfs = errors.New("not a squashfs image")

// decodeSuperblock reads and checks what a later step relies on. size is how
// many bytes the image really has.
func decodeSuperblock(b []byte, size int64) (superblock, error) {
	var s superblock
	if _, err := binary.Decode(b, binary.LittleEndian, &s); err != nil {
		return s, errNotSquashfs
	}
	switch {
	case s.Magic != magic:
		return s, errNotSquashfs
	case s.Major != versionMajor || s.Minor != 0:
		return s, fmt.Errorf("version %d.%d: only 4.0 is read", s.Major, s.Minor)
	case s.BlockSize < minBlockSize || s.BlockSize > maxBlockSize || s.BlockLog > 20 || s.BlockSize != 1<<s.BlockLog:
		return s, fmt.Errorf("block size %d (log %d): not a power of two from 4 KiB to 1 MiB", s.BlockSize, s.BlockLog)
	case s.BytesUsed > uint64(size) || s.BytesUsed < superblockSize:
		return s, fmt.Errorf("image of %d bytes: superblock says %d: truncated", size, s.BytesUsed)
	case s.InodeTable < superblockSize || s.DirTable <= s.InodeTable || s.DirTable > s.BytesUsed:
		return s, errors.New("inode or directory table outside of the image")
	case s.IDTable <= s.DirTable || s.IDTable > s.BytesUsed || s.IDs == 0:
		return s, errors.New("id table outside of the image")
	case s.Fragments > 0 && (s.FragTable <= s.DirTable || s.FragTable > s.BytesUsed):
		return s, errors.New("fragment table outside of the image")
	}
	return s, nil
}
