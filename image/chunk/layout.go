package chunk

import (
	"encoding/binary"
	"io"

	"ore/squashfs"
)

// kind says what a segment of a blob is.
type kind byte

const (
	literal   kind = iota // bytes as they are
	dataBlock             // a stored data or fragment block
	metaBlock             // a metadata block with its header
)

// segment is a range of a blob. The segments of a blob have no gaps.
type segment struct {
	kind           kind
	offset, length int64
}

// form is a blob taken apart.
type form struct {
	segments  []segment
	blockSize int // of a squashfs image, else 0
}

// Places in the superblock (fs/squashfs/squashfs_fs.h).
const (
	superblockSize = 96
	metaSize       = 8192
	metaRaw        = 1 << 15
	fragmentSize   = 16
)

// tables is where a superblock says that the tables are, and of how many
// entries they are.
type tables struct {
	inodes, fragments, ids              int64
	end                                 int64
	idAt, inodeAt, dirAt, fragAt, expAt int64
}

// layout takes the size bytes of r apart. What is no squashfs image, or one
// that is not built as ours are, has literal segments in place of what could
// not be understood: a layout decides what a chunk list or a patch costs, not
// whether it is right.
func layout(r io.ReaderAt, size int64) form {
	whole := form{segments: []segment{{literal, 0, size}}}
	if size == 0 {
		return form{}
	}
	img, err := squashfs.NewReader(r, size)
	if err != nil {
		return whole
	}
	head := make([]byte, superblockSize)
	if _, err := r.ReadAt(head, 0); err != nil {
		return whole
	}
	le := binary.LittleEndian
	t := tables{
		inodes: int64(le.Uint32(head[4:])), fragments: int64(le.Uint32(head[16:])), ids: int64(le.Uint16(head[26:])),
		end: int64(le.Uint64(head[40:])), idAt: int64(le.Uint64(head[48:])), inodeAt: int64(le.Uint64(head[64:])),
		dirAt: int64(le.Uint64(head[72:])), fragAt: int64(le.Uint64(head[80:])), expAt: int64(le.Uint64(head[88:])),
	}
	f := form{blockSize: int(le.Uint32(head[12:]))}
	for _, b := range img.Blocks() {
		at := f.end()
		if b.Offset < at || b.Offset+b.Length > t.inodeAt {
			return whole // blocks that overlap: not one of ours
		}
		f.add(literal, b.Offset)
		f.add(dataBlock, b.Offset+b.Length)
	}
	f.add(literal, t.inodeAt)
	f.tables(r, t)
	f.add(literal, size)
	return f
}

// end is where the segments so far end.
func (f *form) end() int64 {
	if len(f.segments) == 0 {
		return 0
	}
	s := f.segments[len(f.segments)-1]
	return s.offset + s.length
}

// add adds a segment up to end, if that leaves any bytes.
func (f *form) add(k kind, end int64) {
	if at := f.end(); end > at {
		f.segments = append(f.segments, segment{k, at, end - at})
	}
}

// tables adds the metadata blocks in the order in which our writer stores them.
// It stops where an image is different.
func (f *form) tables(r io.ReaderAt, t tables) {
	for _, list := range []struct{ to, index int64 }{
		{t.dirAt, 0},
		{t.fragAt, indexSize(t.fragments * fragmentSize)},
		{t.expAt, indexSize(t.inodes * 8)},
		{t.idAt, indexSize(t.ids * 4)},
	} {
		if list.to > t.end || !f.blocks(r, list.to) {
			return
		}
		f.add(literal, min(list.to+list.index, t.end))
	}
}

// indexSize is how long the list of a table's metadata blocks is.
func indexSize(content int64) int64 { return (content + metaSize - 1) / metaSize * 8 }

// blocks adds metadata blocks up to end, and says whether they end there.
func (f *form) blocks(r io.ReaderAt, end int64) bool {
	var head [2]byte
	for at := f.end(); at < end; at = f.end() {
		if _, err := r.ReadAt(head[:], at); err != nil {
			return false
		}
		n := int64(binary.LittleEndian.Uint16(head[:]) &^ metaRaw)
		if n == 0 || n > metaSize || at+2+n > end {
			return false
		}
		f.add(metaBlock, at+2+n)
	}
	return f.end() == end
}
