package pour

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Of the superblock (fs/squashfs/squashfs_fs.h): its size, and where in it stand
// the size of a block and the offset of the first table. What is read here, the
// reader of the tables checks again.
const (
	headSize     = 96
	atBlockSize  = 12
	atFirstTable = 64
)

// tables are the parts of a layer that are no blocks.
type tables struct {
	head  []byte
	tail  []byte // from the first table to the end
	first int64  // where that begins
	size  int64
}

// maxTables bounds the tables of a layer, which are in memory: a million files
// have some 40 MiB.
const maxTables = 512 << 20

// split says where the tables of a layer begin that has this head and size.
func split(head []byte, size int64) (first int64, err error) {
	first = int64(binary.LittleEndian.Uint64(head[atFirstTable:]))
	switch {
	case string(head[:4]) != "hsqs":
		return 0, errors.New("not a squashfs image")
	case first < headSize || first > size:
		return 0, errors.New("the tables are outside of the image")
	case size-first > maxTables:
		return 0, fmt.Errorf("tables of %d bytes: at most %d are read", size-first, maxTables)
	}
	return first, nil
}

// blockSize returns how much content a block has.
func (t *tables) blockSize() int64 { return int64(binary.LittleEndian.Uint32(t.head[atBlockSize:])) }

// near is a layer of which the tables and one block are at hand. It is used by
// one goroutine.
//
// It is how a block's content is taken without the rest: a reader over it has
// whatever files the block is of.
type near struct {
	*tables
	at    int64
	block []byte // nil for none
}

// span is a range of a layer.
type span struct{ at, n int64 }

var errFar = errors.New("not at hand")

// ReadAt implements io.ReaderAt.
func (r *near) ReadAt(b []byte, off int64) (int, error) {
	switch {
	case r.block != nil && off >= r.at && off-r.at <= int64(len(r.block)-len(b)):
		return copy(b, r.block[off-r.at:]), nil
	case off >= r.first && off <= r.size:
		n := copy(b, r.tail[off-r.first:])
		if n < len(b) {
			return n, io.EOF
		}
		return n, nil
	case off >= 0 && off+int64(len(b)) <= headSize:
		return copy(b, r.head[off:]), nil
	}
	return 0, errFar
}
