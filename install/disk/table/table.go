package table

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Kind is GPT or MBR.
type Kind string

// The kinds of table.
const (
	GPT Kind = "gpt"
	MBR Kind = "mbr"
)

// Limits of tables, each with its reason.
const (
	// MaxEntries is what a GPT of the usual size holds: 16 KiB of 128 bytes each.
	MaxEntries = 128
	// MaxPrimary is what an MBR holds (UEFI specification 2.10, table 5.1).
	MaxPrimary = 4
	// maxSectorMBR is the largest sector number of 32 bits.
	maxSectorMBR = 1<<32 - 1
	// entryBytes is the size of a GPT's entry, as all programs write it.
	entryBytes = 128
	// maxEntries and maxEntry bound what is read: no known disk has more.
	maxEntries, maxEntry = 1024, 4096
	// maxName is the room for a partition's name in units of UTF-16.
	maxName = 36
)

// ErrNone says that a disk has no partition table.
var ErrNone = errors.New("no partition table")

// Table is a partition table.
type Table struct {
	Kind    Kind
	Sector  int64  // bytes in a logical sector: 512 or 4096
	Sectors int64  // of the whole disk
	ID      GUID   // of the disk; an MBR has its first four bytes
	Parts   []Part // by number; one with no sectors is not there
}

// Part is a partition, in logical sectors.
type Part struct {
	Start, Sectors int64
	Type           GUID   // of a GPT
	Code           byte   // of an MBR
	ID             GUID   // of a GPT
	Name           string // of a GPT: at most 36 characters
	Boot           bool   // active in an MBR, legacy BIOS bootable in a GPT
}

// Block is bytes and their place on a disk.
type Block struct {
	Offset int64
	Data   []byte
}

// First returns the first sector that a partition may have.
func (t Table) First() int64 {
	if t.Kind == MBR {
		return 1
	}
	return 2 + t.entrySectors()
}

// Last returns the last sector that a partition may have.
func (t Table) Last() int64 {
	if t.Kind == MBR {
		return min(t.Sectors-1, maxSectorMBR)
	}
	return t.Sectors - 2 - t.entrySectors()
}

func (t Table) entrySectors() int64 { return (MaxEntries*entryBytes + t.Sector - 1) / t.Sector }

// Check says why t cannot be written: partitions outside or over each other, or
// more than there is room for.
func (t Table) Check() error {
	most := MaxEntries
	if t.Kind == MBR {
		most = MaxPrimary
	}
	switch {
	case t.Kind != GPT && t.Kind != MBR:
		return fmt.Errorf("partition table: unknown kind %q", t.Kind)
	case t.Sector < 512 || t.Sector > 4096 || t.Sector&(t.Sector-1) != 0:
		return fmt.Errorf("partition table: sectors of %d bytes", t.Sector)
	case len(t.Parts) > most:
		return fmt.Errorf("partition table: %d partitions, more than %d", len(t.Parts), most)
	}
	return t.checkParts()
}

func (t Table) checkParts() error {
	order := make([]int, len(t.Parts))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return compare(t.Parts[a].Start, t.Parts[b].Start) })
	next := t.First()
	for _, i := range order {
		p := t.Parts[i]
		if p.Sectors == 0 {
			continue
		}
		switch {
		case p.Sectors < 0 || p.Start < next:
			return fmt.Errorf("partition %d begins at sector %d, before %d", i+1, p.Start, next)
		case p.Sectors > t.Last()-p.Start+1:
			return fmt.Errorf("partition %d ends after sector %d, the last one", i+1, t.Last())
		case len(name16(p.Name)) > maxName:
			return fmt.Errorf("partition %d: name %q has more than %d characters", i+1, p.Name, maxName)
		}
		next = p.Start + p.Sectors
	}
	return nil
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Blocks returns what is to be written, in this order. The table must pass Check.
func (t Table) Blocks() []Block {
	if t.Kind == MBR {
		return []Block{{Offset: 0, Data: t.sector0()}}
	}
	return t.gptBlocks()
}

// Read reads the table of a disk of so many bytes. It returns ErrNone where
// there is none, and another error where there is one that is damaged.
func Read(disk io.ReaderAt, size, sector int64) (Table, error) {
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || size < 3*sector {
		return Table{}, ErrNone
	}
	t := Table{Sector: sector, Sectors: size / sector}
	head := make([]byte, sector)
	if _, err := disk.ReadAt(head, 0); err != nil {
		return Table{}, fmt.Errorf("read partition table: %w", err)
	}
	protective := isProtective(head)
	g, err := t.readGPT(disk)
	if err == nil {
		return g, nil
	}
	if protective {
		if errors.Is(err, ErrNone) {
			err = errors.New("partition table: damaged: it is announced, but not there")
		}
		return Table{}, err
	}
	if !errors.Is(err, ErrNone) {
		return Table{}, err
	}
	return t.readMBR(head)
}
