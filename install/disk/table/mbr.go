package table

import (
	"encoding/binary"
	"fmt"
)

// Places in the first sector (UEFI specification 2.10, tables 5.1 and 5.2).
const (
	diskIDAt, recordsAt, recordBytes, bootMark = 440, 446, 16, 510
	protectiveCode                             = 0xee
	activeFlag                                 = 0x80
	extendedCode, extendedLBA, extendedLinux   = 0x05, 0x0f, 0x85
)

// record writes one of the four records of an MBR. The addresses by cylinder
// and head say "beyond what they can hold", as all do since disks are large.
func record(b []byte, p Part) {
	if p.Boot {
		b[0] = activeFlag
	}
	copy(b[1:4], []byte{0xfe, 0xff, 0xff})
	b[4] = p.Code
	copy(b[5:8], []byte{0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(b[8:], uint32(p.Start))
	binary.LittleEndian.PutUint32(b[12:], uint32(p.Sectors))
}

// sector0 returns the first sector of a disk with an MBR.
func (t Table) sector0() []byte {
	b := make([]byte, t.Sector)
	copy(b[diskIDAt:], t.ID[:4])
	for i, p := range t.Parts {
		if p.Sectors > 0 {
			record(b[recordsAt+i*recordBytes:], p)
		}
	}
	b[bootMark], b[bootMark+1] = 0x55, 0xaa
	return b
}

// protective returns the MBR that keeps old programs away from a GPT (table 5.4).
func (t Table) protective() []byte {
	b := make([]byte, t.Sector)
	record(b[recordsAt:], Part{Start: 1, Sectors: min(t.Sectors-1, maxSectorMBR), Code: protectiveCode})
	copy(b[recordsAt+1:], []byte{0x00, 0x02, 0x00}) // sector 1, as the table demands
	b[bootMark], b[bootMark+1] = 0x55, 0xaa
	return b
}

func isProtective(b []byte) bool {
	if b[bootMark] != 0x55 || b[bootMark+1] != 0xaa {
		return false
	}
	for i := range MaxPrimary {
		if b[recordsAt+i*recordBytes+4] == protectiveCode {
			return true
		}
	}
	return false
}

// readMBR reads the first sector. A boot sector of a file system, which ends
// with the same mark, is told from an MBR by records that make no sense.
func (t Table) readMBR(b []byte) (Table, error) {
	if b[bootMark] != 0x55 || b[bootMark+1] != 0xaa {
		return Table{}, ErrNone
	}
	t.Kind = MBR
	copy(t.ID[:4], b[diskIDAt:])
	le := binary.LittleEndian
	for i := range MaxPrimary {
		r := b[recordsAt+i*recordBytes:][:recordBytes]
		if r[0] != 0 && r[0] != activeFlag {
			return Table{}, ErrNone
		}
		p := Part{Boot: r[0] == activeFlag, Code: r[4], Start: int64(le.Uint32(r[8:])), Sectors: int64(le.Uint32(r[12:]))}
		if p.Code == 0 || p.Sectors == 0 {
			t.Parts = append(t.Parts, Part{})
			continue
		}
		if p.Start == 0 || p.Start+p.Sectors > t.Sectors {
			return Table{}, fmt.Errorf("partition table: damaged: partition %d goes beyond the disk", i+1)
		}
		t.Parts = append(t.Parts, p)
	}
	for len(t.Parts) > 0 && t.Parts[len(t.Parts)-1] == (Part{}) {
		t.Parts = t.Parts[:len(t.Parts)-1]
	}
	return t, nil
}

// Extended says whether an MBR's partition holds further ones, which are not
// read here: only that they are there matters.
func (p Part) Extended() bool {
	return p.Code == extendedCode || p.Code == extendedLBA || p.Code == extendedLinux
}
