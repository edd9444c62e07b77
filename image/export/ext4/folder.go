package ext4

import (
	"encoding/binary"
	"iter"
)

// recordHead is what a directory entry has before its name.
const recordHead = 8

// recordSize returns how many bytes a directory entry takes.
func recordSize(name string) int { return (recordHead + len(name) + 3) &^ 3 }

// records yields the sizes of a folder's entries, beginning with those of "."
// and "..".
func (f *file) records() iter.Seq[int] {
	return func(yield func(int) bool) {
		if !yield(recordSize(".")) || !yield(recordSize("..")) {
			return
		}
		for _, c := range f.children {
			if !yield(recordSize(c.name)) {
				return
			}
		}
	}
}

// folderBytes returns the content of a folder. The last entry of a block
// reaches to its end; a block without entries is one that names no inode.
func (f *file) folderBytes() []byte {
	le := binary.LittleEndian
	out := make([]byte, int(f.blocks)*blockSize)
	block, used, last := 0, 0, 0
	seal := func() { le.PutUint16(out[block+last+4:], uint16(blockSize-last)) }
	add := func(name string, to *file) {
		size := recordSize(name)
		if used+size > blockSize {
			seal()
			block, used = block+blockSize, 0
		}
		e := out[block+used:]
		_, kind, _ := kind(to.Mode) // checked when it was entered
		le.PutUint32(e, to.inode)
		le.PutUint16(e[4:], uint16(size))
		e[6], e[7] = byte(len(name)), kind
		copy(e[recordHead:], name)
		last, used = used, used+size
	}
	add(".", f)
	add("..", f.parent)
	for _, c := range f.children {
		add(c.name, c.file)
	}
	seal()
	for block += blockSize; block < len(out); block += blockSize {
		last = 0
		seal()
	}
	return out
}
