package ext4

import (
	"fmt"
	"math"
)

// Sizes of the format.
const (
	blockSize      = 4096
	groupBlocks    = 8 * blockSize // one block of bitmap tells of one group
	groupInodes    = 8 * blockSize // at most, for the same reason
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	descriptorSize = 32
	bytesPerInode  = 16 << 10 // as mke2fs has it: one inode for so much space
)

// Room for what comes later, unless Options.Size says otherwise.
const (
	freePart     = 4                    // a quarter of the content, but
	freeBlocks   = 64 << 20 / blockSize // 64 MiB at least
	spareInodes  = 1024
	minLastGroup = 64 // a last group with less room than this is not worth its tables
	sizeStep     = 16 // blocks; sizes are multiples of 64 KiB, the cluster of the disk formats
)

// geometry says how large the parts of a file system are.
type geometry struct {
	blocks        uint32 // of the whole
	groups        uint32
	perGroup      uint32 // inodes in each group
	tableBlocks   uint32 // of the inodes of each group
	descBlocks    uint32 // of the descriptors of all groups
	journalBlocks uint32
}

// newGeometry returns a geometry with room for need blocks and so many inodes,
// of exactly size bytes or the next smaller possible size; if size is 0, with
// free space as Options promises.
func newGeometry(need, inodes uint64, size int64) (geometry, error) {
	if size != 0 {
		g, room := geometryOf(uint64(max(size, 0))/(sizeStep*blockSize)*sizeStep, inodes)
		if room < need {
			least, err := grow(need, inodes)
			if err != nil {
				return g, err
			}
			return g, fmt.Errorf("a size of %d bytes is too small for the tree: it takes at least %d", size, int64(least.blocks)*blockSize)
		}
		return g, nil
	}
	return grow(need+need/freePart+freeBlocks, inodes+inodes/freePart+spareInodes)
}

// grow returns the smallest geometry that it finds with room for need blocks.
func grow(need, inodes uint64) (geometry, error) {
	for blocks := need; ; {
		if blocks > math.MaxUint32-groupBlocks {
			return geometry{}, fmt.Errorf("%d blocks of content: more than 16 TiB are not possible", need)
		}
		g, room := geometryOf(blocks, inodes)
		if room >= need {
			return g, nil
		}
		blocks += max(need-room, sizeStep)
	}
}

// geometryOf divides blocks into groups, and returns how many of them are left
// for content; 0 if the inodes do not fit.
func geometryOf(blocks, inodes uint64) (geometry, uint64) {
	var g geometry
	if blocks > math.MaxUint32-groupBlocks {
		blocks = math.MaxUint32 - groupBlocks
	}
	blocks = (blocks + sizeStep - 1) / sizeStep * sizeStep
	g.blocks = uint32(blocks)
	g.groups = (g.blocks + groupBlocks - 1) / groupBlocks
	if g.groups == 0 {
		return g, 0
	}
	g.journalBlocks = journalSize(g.blocks)
	inodes = max(inodes, blocks*blockSize/bytesPerInode)
	perGroup := (inodes + uint64(g.groups) - 1) / uint64(g.groups)
	perGroup = (perGroup + inodesPerBlock - 1) / inodesPerBlock * inodesPerBlock
	if perGroup > groupInodes {
		return g, 0
	}
	g.perGroup = uint32(perGroup)
	g.tableBlocks = g.perGroup / inodesPerBlock
	g.descBlocks = (g.groups*descriptorSize + blockSize - 1) / blockSize
	last := g.groups - 1
	if g.dataStart(last)+minLastGroup > g.blocks {
		if last == 0 {
			return g, 0
		}
		return geometryOf(uint64(last)*groupBlocks, inodes)
	}
	room := uint64(0)
	for i := range g.groups {
		room += uint64(g.groupEnd(i) - g.dataStart(i))
	}
	return g, room - min(room, uint64(g.journalBlocks))
}

// journalSize is mke2fs's choice (ext2fs_default_journal_size) for blocks of
// 4 KiB: none where it would take most of the room.
func journalSize(blocks uint32) uint32 {
	switch {
	case blocks < 2048:
		return 0
	case blocks < 32<<10:
		return 1024
	case blocks < 256<<10:
		return 4096
	case blocks < 512<<10:
		return 8192
	case blocks < 4096<<10:
		return 16384
	}
	return 32768
}

// hasSuper says whether group i begins with a superblock and the descriptors:
// the first and those whose numbers are powers of 3, 5 and 7 (sparse_super).
func hasSuper(i uint32) bool {
	if i <= 1 {
		return true
	}
	for _, base := range [...]uint32{3, 5, 7} {
		n := i
		for n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}

// bitmaps returns where group i's two bitmaps begin, before its inodes.
func (g *geometry) bitmaps(i uint32) uint32 {
	b := i * groupBlocks
	if hasSuper(i) {
		b += 1 + g.descBlocks
	}
	return b
}

// dataStart returns where group i's content begins.
func (g *geometry) dataStart(i uint32) uint32 { return g.bitmaps(i) + 2 + g.tableBlocks }

// groupEnd returns the block behind group i's last.
func (g *geometry) groupEnd(i uint32) uint32 { return min((i+1)*groupBlocks, g.blocks) }
