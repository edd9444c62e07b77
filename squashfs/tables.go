package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
)

// metaWriter collects a stream of metadata blocks.
type metaWriter struct {
	c    compressor
	out  []byte // finished blocks with their headers
	buf  []byte // the block that is being filled, shorter than metaSize
	room []byte
}

func newMetaWriter(c compressor) *metaWriter {
	return &metaWriter{c: c, buf: make([]byte, 0, metaSize), room: make([]byte, 0, metaSize+roomBeyond)}
}

// position says where the next byte goes: the beginning of its block among the
// stored ones, and the offset in the block's content.
func (m *metaWriter) position() (block uint32, offset uint16) {
	return uint32(len(m.out)), uint16(len(m.buf))
}

func (m *metaWriter) write(b []byte) {
	for len(b) > 0 {
		n := min(len(b), metaSize-len(m.buf))
		m.buf = append(m.buf, b[:n]...)
		b = b[n:]
		if len(m.buf) == metaSize {
			m.flush()
		}
	}
}

func (m *metaWriter) flush() {
	if len(m.buf) == 0 {
		return
	}
	packed := m.c(m.room, m.buf)
	header := uint16(len(packed))
	if packed == nil {
		packed, header = m.buf, uint16(len(m.buf))|metaRaw
	}
	m.out = binary.LittleEndian.AppendUint16(m.out, header)
	m.out = append(m.out, packed...)
	m.buf = m.buf[:0]
}

// tables is what Close works on.
type tables struct {
	w      *Writer
	order  []*inode // in the order of the inode table; the root is last
	inodes *metaWriter
	dirs   *metaWriter
	ids    []uint32
	idOf   map[uint32]uint16
	buf    []byte
}

// dirList is what only folders have.
type dirList struct {
	parent  *inode
	entries []name // by their names alone, sorted
	folders uint32 // among entries
	block   uint32 // where the listing is in the directory table
	offset  uint16
	size    uint32
	index   []dirIndex
}

// dirIndex helps to find a name in a long listing: after at bytes of it, in
// the metadata block that begins at block, there is a header, and name is the
// first entry under it.
type dirIndex struct {
	at    uint32
	block uint32
	name  string
}

var errTooLarge = errors.New("more metadata than squashfs can address")

// finish writes the tables and the superblock.
func (w *Writer) finish() error {
	c, err := newCompressor(w.o)
	if err != nil {
		return err
	}
	t := &tables{w: w, inodes: newMetaWriter(c), dirs: newMetaWriter(c), idOf: map[uint32]uint16{}}
	root, err := t.tree()
	if err != nil {
		return err
	}
	if err := t.number(root); err != nil {
		return err
	}
	for _, ino := range t.order {
		if ino.kind == typeDir {
			t.listing(ino)
		}
		if err := t.inode(ino); err != nil {
			return err
		}
	}
	t.inodes.flush()
	t.dirs.flush()
	return t.store(root, c)
}

// tree links folders with what is in them and returns the root.
func (t *tables) tree() (*inode, error) {
	root := t.w.inode["."]
	if root == nil {
		return nil, errors.New("the root folder was not added: add an entry with the path \".\"")
	}
	for _, n := range t.w.names {
		if n.path == "." {
			continue
		}
		dir := t.w.inode[path.Dir(n.path)]
		switch {
		case dir == nil:
			return nil, fmt.Errorf("%s: its parent folder was not added", n.path)
		case dir.kind != typeDir:
			return nil, fmt.Errorf("%s: its parent is not a folder", n.path)
		}
		dir.list.entries = append(dir.list.entries, name{path.Base(n.path), n.inode})
		if n.kind == typeDir {
			dir.list.folders++
			n.list.parent = dir
		}
	}
	return root, nil
}

// number decides the order of inodes. Folders go by depth, the deepest first,
// so that a folder's listing can name the positions of all that is in it; what
// is in one folder lies side by side.
func (t *tables) number(root *inode) error {
	queue := []*inode{root}
	for i := 0; i < len(queue); i++ {
		entries := queue[i].list.entries
		slices.SortFunc(entries, func(a, b name) int { return strings.Compare(a.path, b.path) })
		for _, n := range entries {
			if n.kind == typeDir {
				queue = append(queue, n.inode)
			}
		}
	}
	if len(t.w.names) > math.MaxInt32 {
		return errTooLarge
	}
	t.order = make([]*inode, 0, len(t.w.names))
	for _, dir := range slices.Backward(queue) {
		for _, n := range dir.list.entries {
			if n.number == 0 {
				t.append(n.inode)
			}
		}
	}
	t.append(root)
	return nil
}

func (t *tables) append(ino *inode) {
	t.order = append(t.order, ino)
	ino.number = uint32(len(t.order))
}

// listing writes a folder's entries to the directory table. A run of entries
// under one header shares the metadata block of their inodes, and their inode
// numbers lie within 15 bits of the header's.
func (t *tables) listing(dir *inode) {
	l := &dir.list
	l.block, l.offset = t.dirs.position()
	indexed := 0 // size of the listing at the last place that can be found by the index
	for i := 0; i < len(l.entries); {
		run := entryRun(l.entries[i:], int(l.size)-indexed)
		head := l.entries[i]
		if i > 0 && int(l.size)-indexed+runSize(run) > metaSize {
			block, _ := t.dirs.position()
			if len(l.index) < math.MaxUint16 {
				l.index = append(l.index, dirIndex{l.size, block, head.path})
			}
			indexed = int(l.size)
		}
		b := t.buf[:0]
		b = binary.LittleEndian.AppendUint32(b, uint32(len(run)-1))
		b = binary.LittleEndian.AppendUint32(b, uint32(head.ref>>16))
		b = binary.LittleEndian.AppendUint32(b, head.number)
		for _, n := range run {
			b = binary.LittleEndian.AppendUint16(b, uint16(n.ref))
			b = binary.LittleEndian.AppendUint16(b, uint16(int32(n.number)-int32(head.number)))
			b = binary.LittleEndian.AppendUint16(b, n.kind)
			b = binary.LittleEndian.AppendUint16(b, uint16(len(n.path)-1))
			b = append(b, n.path...)
		}
		t.dirs.write(b)
		t.buf = b
		l.size += uint32(len(b))
		i += len(run)
	}
}

// entryRun returns as many of entries as go under one header: at most so many
// that they end within metaSize of the last indexed place, which is since bytes
// back, or of their own beginning.
func entryRun(entries []name, since int) []name {
	head := entries[0]
	if since+dirHeaderSize+dirEntrySize+len(head.path) > metaSize {
		since = 0 // this header gets an index of its own
	}
	size := since + dirHeaderSize
	for i, n := range entries {
		size += dirEntrySize + len(n.path)
		delta := int64(n.number) - int64(head.number)
		if i == maxDirRun || i > 0 && size > metaSize ||
			n.ref>>16 != head.ref>>16 || delta < math.MinInt16 || delta > math.MaxInt16 {
			return entries[:i]
		}
	}
	return entries
}

func runSize(run []name) int {
	size := dirHeaderSize
	for _, n := range run {
		size += dirEntrySize + len(n.path)
	}
	return size
}

// id returns the place of a user's or group's id in the id table.
func (t *tables) id(id uint32) (uint16, error) {
	i, ok := t.idOf[id]
	if !ok {
		if len(t.ids) == maxIDs {
			return 0, fmt.Errorf("more than %d different owners and groups", maxIDs)
		}
		i = uint16(len(t.ids))
		t.ids = append(t.ids, id)
		t.idOf[id] = i
	}
	return i, nil
}

// inode writes ino to the inode table.
func (t *tables) inode(ino *inode) error {
	uid, err := t.id(ino.UID)
	if err != nil {
		return err
	}
	gid, err := t.id(ino.GID)
	if err != nil {
		return err
	}
	block, offset := t.inodes.position()
	ino.ref = uint64(block)<<16 | uint64(offset)
	kind, body := t.body(ino)
	var head [16]byte
	b := binary.LittleEndian.AppendUint16(head[:0], kind)
	b = binary.LittleEndian.AppendUint16(b, unixMode(ino.Mode))
	b = binary.LittleEndian.AppendUint16(b, uid)
	b = binary.LittleEndian.AppendUint16(b, gid)
	b = binary.LittleEndian.AppendUint32(b, uint32(ino.ModTime))
	b = binary.LittleEndian.AppendUint32(b, ino.number)
	t.inodes.write(b)
	t.inodes.write(body)
	return nil
}

// body returns the inode's type and what follows the common header.
func (t *tables) body(ino *inode) (uint16, []byte) {
	le := binary.LittleEndian
	b := t.buf[:0]
	kind := ino.kind
	switch kind {
	case typeDir:
		kind, b = dirBody(b, ino)
	case typeFile:
		kind, b = fileBody(b, ino, ino.holes(int64(t.w.o.BlockSize)))
	case typeSymlink:
		b = le.AppendUint32(b, ino.links)
		b = le.AppendUint32(b, uint32(len(ino.Link)))
		b = append(b, ino.Link...)
	case typeBlockDev, typeCharDev:
		b = le.AppendUint32(b, ino.links)
		b = le.AppendUint32(b, encodeDevice(ino.Major, ino.Minor))
	default:
		b = le.AppendUint32(b, ino.links)
	}
	t.buf = b
	return kind, b
}

func dirBody(b []byte, ino *inode) (uint16, []byte) {
	le := binary.LittleEndian
	l := &ino.list
	parent := ino.number + 1 // the root's, as mksquashfs has it: one beyond the last inode
	if l.parent != nil {
		parent = l.parent.number
	}
	links := l.folders + 2
	size := l.size + emptyDirSize
	if size <= math.MaxUint16 && len(l.index) == 0 {
		b = le.AppendUint32(b, l.block)
		b = le.AppendUint32(b, links)
		b = le.AppendUint16(b, uint16(size))
		b = le.AppendUint16(b, l.offset)
		return typeDir, le.AppendUint32(b, parent)
	}
	b = le.AppendUint32(b, links)
	b = le.AppendUint32(b, size)
	b = le.AppendUint32(b, l.block)
	b = le.AppendUint32(b, parent)
	b = le.AppendUint16(b, uint16(len(l.index)))
	b = le.AppendUint16(b, l.offset)
	b = le.AppendUint32(b, noXattr)
	for _, x := range l.index {
		b = le.AppendUint32(b, x.at)
		b = le.AppendUint32(b, x.block)
		b = le.AppendUint32(b, uint32(len(x.name)-1))
		b = append(b, x.name...)
	}
	return typeDir + extended, b
}

func fileBody(b []byte, ino *inode, holes int64) (uint16, []byte) {
	le := binary.LittleEndian
	frag, offset := uint32(noFragment), uint32(0)
	if ino.frag != nil {
		frag, offset = ino.frag.index, ino.offset
	}
	kind := uint16(typeFile)
	if ino.links == 1 && holes == 0 && ino.start <= math.MaxUint32 && ino.Size <= math.MaxUint32 {
		b = le.AppendUint32(b, uint32(ino.start))
		b = le.AppendUint32(b, frag)
		b = le.AppendUint32(b, offset)
		b = le.AppendUint32(b, uint32(ino.Size))
	} else {
		kind += extended
		b = le.AppendUint64(b, uint64(ino.start))
		b = le.AppendUint64(b, uint64(ino.Size))
		b = le.AppendUint64(b, uint64(holes))
		b = le.AppendUint32(b, ino.links)
		b = le.AppendUint32(b, frag)
		b = le.AppendUint32(b, offset)
		b = le.AppendUint32(b, noXattr)
	}
	for _, word := range ino.blocks {
		b = le.AppendUint32(b, word)
	}
	return kind, b
}

// holes returns how many of the file's bytes lie in blocks that are not stored.
func (ino *inode) holes(blockSize int64) int64 {
	n := int64(0)
	for i, word := range ino.blocks {
		if word == 0 {
			n += min(blockSize, ino.Size-int64(i)*blockSize)
		}
	}
	return n
}
