package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Range is bytes of a file system, from From to before To.
type Range struct{ From, To int64 }

// Used returns what is in use of the file system, in its order. All else is free,
// and may have any content.
func (l *Layout) Used() []Range {
	var all []Range
	for i := range l.groups {
		from := int64(i) * groupBlocks
		r := Range{from * blockSize, (from + int64(l.used(i))) * blockSize}
		if n := len(all); n > 0 && all[n-1].To == r.From {
			all[n-1].To = r.To
		} else {
			all = append(all, r)
		}
	}
	return all
}

// HeadSize is how many bytes of a file system have what says that it is one: its
// first block.
const HeadSize = blockSize

// Identity is what no two file systems with the same content have in common.
type Identity struct {
	ID    [16]byte // as in Options
	Label string   // as in Options
}

// Places in a superblock (super.rst), which is at superAt of the first block.
const (
	superAt    = 1024
	superBytes = 1024
	atBlocks   = 4
	atGroup    = 32 // blocks of a group
	atMagic    = 56
	atReadOnly = 100 // the features with which it is at least read
	atID       = 104
	atLabel    = 120
	atSeed     = 236
	checksums  = 0x10 | 0x400 // of descriptors, and of all: they are made with the UUID
)

// Identify gives a file system that this package wrote an identity. head is its
// first HeadSize bytes, which are not on w yet and are written last, after all
// copies of the superblock: a file system is there only then.
func Identify(w io.WriterAt, head []byte, i Identity) error {
	if len(head) != HeadSize || len(i.Label) > 16 {
		return fmt.Errorf("ext4: %d bytes of a file system, for the label %q: %d and at most 16 bytes are right", len(head), i.Label, HeadSize)
	}
	le := binary.LittleEndian
	super := head[superAt:][:superBytes]
	switch {
	case le.Uint16(super[atMagic:]) != 0xef53 || le.Uint32(super[atGroup:]) != groupBlocks || le.Uint32(super[24:]) != 2:
		return errors.New("ext4: no superblock of this package's")
	case le.Uint32(super[atReadOnly:])&checksums != 0:
		return errors.New("ext4: the file system has checksums, which its identity is part of")
	}
	copy(super[atID:], i.ID[:])
	copy(super[atSeed:], i.ID[:]) // no folder has an index yet that was made with another
	clear(super[atLabel:][:16])
	copy(super[atLabel:], i.Label)
	blocks := int64(le.Uint32(super[atBlocks:]))
	further := append([]byte{}, super...)
	for g := int64(1); g*groupBlocks < blocks; g++ {
		if !hasSuper(uint32(g)) {
			continue
		}
		le.PutUint16(further[90:], uint16(g))
		if _, err := w.WriteAt(further, g*groupBlocks*blockSize); err != nil {
			return fmt.Errorf("ext4: %w", err)
		}
	}
	if _, err := w.WriteAt(head, 0); err != nil {
		return fmt.Errorf("ext4: %w", err)
	}
	return nil
}
