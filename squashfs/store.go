package squashfs

import (
	"encoding/binary"
	"math"
	"math/bits"
	"ore/squashfs/expand"
)

// compressorOptions returns what stands between superblock and data. Readers
// want it for lz4 alone (version 1, the format without frames).
func compressorOptions(o Options) []byte {
	if o.Compression != LZ4 {
		return nil
	}
	flags := uint32(0)
	if o.Level > 0 {
		flags = 1 // compressed in high compression mode
	}
	b := binary.LittleEndian.AppendUint16(nil, 8|metaRaw)
	b = binary.LittleEndian.AppendUint32(b, 1)
	return binary.LittleEndian.AppendUint32(b, flags)
}

// store writes all tables behind the data, and last the superblock.
func (t *tables) store(root *inode, c compressor) error {
	p := t.w.pipe
	s := superblock{
		Magic: magic, Major: versionMajor,
		Inodes: uint32(len(t.order)), Fragments: uint32(len(t.w.frags)), IDs: uint16(len(t.ids)),
		BlockSize: uint32(t.w.o.BlockSize), BlockLog: uint16(bits.TrailingZeros(uint(t.w.o.BlockSize))),
		Root: root.ref, XattrTable: absent,
		Compressor: expand.Zstd, Flags: flagExportable | flagNoXattrs,
	}
	switch t.w.o.Compression {
	case LZ4:
		s.Compressor, s.Flags = expand.LZ4, s.Flags|flagOptions
	case None:
		s.Flags |= flagRawInodes | flagRawData | flagRawFragments | flagRawXattrs | flagRawIDs
	}
	if len(t.w.frags) == 0 {
		s.Flags |= flagNoFragments
	}
	if uint64(len(t.inodes.out)) > math.MaxUint32 || uint64(len(t.dirs.out)) > math.MaxUint32 {
		return errTooLarge
	}
	s.InodeTable = uint64(p.pos)
	s.DirTable = s.InodeTable + uint64(len(t.inodes.out))
	at := s.DirTable + uint64(len(t.dirs.out))
	var tail []byte
	tail, s.FragTable = appendTable(tail, at, c, t.fragments())
	tail, s.ExportTable = appendTable(tail, at, c, t.exports())
	tail, s.IDTable = appendTable(tail, at, c, t.idTable())
	s.BytesUsed = at + uint64(len(tail))
	if odd := s.BytesUsed % padding; odd > 0 {
		tail = append(tail, make([]byte, padding-odd)...)
	}
	for _, b := range [][]byte{t.inodes.out, t.dirs.out, tail} {
		if err := p.write(b); err != nil {
			return err
		}
	}
	head, err := s.encode()
	if err != nil {
		return err
	}
	t.w.size = p.pos
	p.pos = 0
	return p.write(append(head, compressorOptions(t.w.o)...))
}

// appendTable appends a table in the form that has a list of its metadata
// blocks' positions behind them, and returns where that list is. at is the
// position of tail's beginning.
func appendTable(tail []byte, at uint64, c compressor, content []byte) ([]byte, uint64) {
	m := newMetaWriter(c)
	var list []byte
	for len(content) > 0 {
		n := min(metaSize, len(content))
		list = binary.LittleEndian.AppendUint64(list, at+uint64(len(tail)+len(m.out)))
		m.write(content[:n])
		m.flush()
		content = content[n:]
	}
	tail = append(tail, m.out...)
	start := at + uint64(len(tail))
	return append(tail, list...), start
}

func (t *tables) fragments() []byte {
	b := make([]byte, 0, len(t.w.frags)*fragmentSize)
	for _, f := range t.w.frags {
		b = binary.LittleEndian.AppendUint64(b, uint64(f.start))
		b = binary.LittleEndian.AppendUint32(b, f.word)
		b = binary.LittleEndian.AppendUint32(b, 0)
	}
	return b
}

// exports is the table of inode positions by number. It lets overlay keep its
// inode numbers when a file is copied up, which needs file handles.
func (t *tables) exports() []byte {
	b := make([]byte, 0, len(t.order)*8)
	for _, ino := range t.order {
		b = binary.LittleEndian.AppendUint64(b, ino.ref)
	}
	return b
}

func (t *tables) idTable() []byte {
	b := make([]byte, 0, len(t.ids)*4)
	for _, id := range t.ids {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}
