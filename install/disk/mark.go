package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"ore/install/disk/table"
)

// State is how far a layout has come.
type State byte

// The states of a layout. What is in between is Begun.
const (
	Nothing   State = iota // no run has begun here
	Begun                  // something may be written: only a new start helps
	Formatted              // tables and file systems are there, and empty
	Installed              // a machine has come up from it
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"nothing", "begun", "formatted", "installed"}[min(s, Installed)]
}

// Mark says on a disk whose it is and how far work on it has come.
type Mark struct {
	State  State
	Layout [sha256.Size]byte // what it was made for
	Index  int               // which of the layout's disks
	Table  table.GUID        // the identifier of the partition table
}

// The mark's place and form: a sector at the end of the first MiB, of which the
// first 128 bytes matter, so that it is written whole or not at all.
const (
	markAt    = 1<<20 - markBytes
	markBytes = 4096 // one sector of any disk
	markMagic = "ORE disk mark 1\n"
	markUsed  = 128
)

func (m Mark) encode() []byte {
	b := make([]byte, markBytes)
	copy(b, markMagic)
	b[16] = byte(m.State)
	b[17] = byte(m.Index)
	copy(b[32:], m.Layout[:])
	copy(b[64:], m.Table[:])
	binary.LittleEndian.PutUint32(b[markUsed-4:], crc32.ChecksumIEEE(b[:markUsed-4]))
	return b
}

// readMark returns nil where there is none, or none that is whole.
func readMark(disk io.ReaderAt) (*Mark, error) {
	b := make([]byte, markUsed)
	if _, err := disk.ReadAt(b, markAt); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read mark: %w", err)
	}
	if string(b[:16]) != markMagic || binary.LittleEndian.Uint32(b[markUsed-4:]) != crc32.ChecksumIEEE(b[:markUsed-4]) {
		return nil, nil
	}
	m := &Mark{State: State(b[16]), Index: int(b[17]), Layout: [32]byte(b[32:64]), Table: table.GUID(b[64:80])}
	if m.State < Begun || m.State > Installed {
		return nil, nil
	}
	return m, nil
}

// beside shows a disk as if it had no mark, which is nobody's data.
type beside struct{ io.ReaderAt }

// ReadAt reads, and puts zeros where the mark is.
func (d beside) ReadAt(b []byte, at int64) (int, error) {
	n, err := d.ReaderAt.ReadAt(b, at)
	from, to := max(at, markAt), min(at+int64(n), markAt+markBytes)
	if from < to {
		if m, _ := readMark(d.ReaderAt); m != nil {
			clear(b[from-at : to-at])
		}
	}
	return n, err
}

// section returns a disk from a byte on.
func section(disk io.ReaderAt, from int64) io.ReaderAt {
	return io.NewSectionReader(disk, from, 1<<62-from)
}

// ours says whether what a device holds was made by a run of ours that never
// came to its end, so that nothing is lost when another starts over: its mark
// says so, and the table is that run's, or is not there (yet, or any more). Then
// there may be remains without a meaning, but no signature that has one. Whether
// it was the same layout does not matter: no machine has come up from it.
func (h Holds) ours() bool {
	m := h.Mark
	if m == nil || m.State == Installed {
		return false
	}
	return h.Damaged == "" && (h.Whole == nil || h.Whole.Kind == "data") && (h.Table == nil || len(h.Table.Parts) == 0 || sameTable(h.Table.ID, m.Table))
}

// sameTable compares identifiers of tables, of which an MBR has only the first
// four bytes.
func sameTable(found, marked table.GUID) bool {
	return found == marked || found == table.GUID(append(marked[:4:4], make([]byte, 12)...)) && !bytes.Equal(marked[:4], make([]byte, 4))
}
