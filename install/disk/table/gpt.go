package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// signature and revision begin a GPT's header (UEFI specification 2.10, table 5.5).
const (
	signature   = "EFI PART"
	revision    = 0x00010000
	headerBytes = 92
	// legacyBoot is the attribute "Legacy BIOS Bootable" (table 5.8).
	legacyBoot = 1 << 2
)

func (t Table) gptBlocks() []Block {
	entries := t.entries()
	last, n := t.Sectors-1, t.entrySectors()
	return []Block{
		{Offset: (last - n) * t.Sector, Data: entries},
		{Offset: last * t.Sector, Data: t.header(last, 1, last-n, entries)},
		{Offset: 2 * t.Sector, Data: entries},
		{Offset: t.Sector, Data: t.header(1, last, 2, entries)},
		{Offset: 0, Data: t.protective()},
	}
}

// entries returns the array of entries (table 5.6), padded to whole sectors.
func (t Table) entries() []byte {
	b := make([]byte, t.entrySectors()*t.Sector)
	for i, p := range t.Parts {
		if p.Sectors == 0 {
			continue
		}
		e := b[i*entryBytes : (i+1)*entryBytes]
		kind, id := p.Type.swapped(), p.ID.swapped()
		copy(e[0:], kind[:])
		copy(e[16:], id[:])
		binary.LittleEndian.PutUint64(e[32:], uint64(p.Start))
		binary.LittleEndian.PutUint64(e[40:], uint64(p.Start+p.Sectors-1))
		if p.Boot {
			binary.LittleEndian.PutUint64(e[48:], legacyBoot)
		}
		for k, u := range name16(p.Name) {
			binary.LittleEndian.PutUint16(e[56+2*k:], u)
		}
	}
	return b
}

func name16(s string) []uint16 { return utf16.Encode([]rune(s)) }

// header returns the sector of a header that stands at sector self, while the
// other one is at sector other and its own entries at sector at.
func (t Table) header(self, other, at int64, entries []byte) []byte {
	b := make([]byte, t.Sector)
	le := binary.LittleEndian
	copy(b, signature)
	le.PutUint32(b[8:], revision)
	le.PutUint32(b[12:], headerBytes)
	le.PutUint64(b[24:], uint64(self))
	le.PutUint64(b[32:], uint64(other))
	le.PutUint64(b[40:], uint64(t.First()))
	le.PutUint64(b[48:], uint64(t.Last()))
	id := t.ID.swapped()
	copy(b[56:], id[:])
	le.PutUint64(b[72:], uint64(at))
	le.PutUint32(b[80:], MaxEntries)
	le.PutUint32(b[84:], entryBytes)
	le.PutUint32(b[88:], crc32.ChecksumIEEE(entries[:MaxEntries*entryBytes]))
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerBytes]))
	return b
}

// readGPT reads the first header, or where that is damaged the last one.
func (t Table) readGPT(disk io.ReaderAt) (Table, error) {
	first, err := t.readHeader(disk, 1)
	if err == nil {
		return first, nil
	}
	last, err2 := t.readHeader(disk, t.Sectors-1)
	if err2 == nil {
		return last, nil
	}
	if errors.Is(err, ErrNone) {
		err = err2
	}
	return Table{}, err
}

func (t Table) readHeader(disk io.ReaderAt, at int64) (Table, error) {
	b := make([]byte, t.Sector)
	if _, err := disk.ReadAt(b, at*t.Sector); err != nil {
		return Table{}, fmt.Errorf("read partition table: %w", err)
	}
	le := binary.LittleEndian
	if string(b[:8]) != signature {
		return Table{}, ErrNone
	}
	length, sum := le.Uint32(b[12:]), le.Uint32(b[16:])
	if length < headerBytes || int64(length) > t.Sector {
		return Table{}, errors.New("partition table: damaged: a header of impossible length")
	}
	clear(b[16:20])
	if crc32.ChecksumIEEE(b[:length]) != sum || le.Uint64(b[24:]) != uint64(at) {
		return Table{}, errors.New("partition table: damaged: the header's checksum is wrong")
	}
	count, each := le.Uint32(b[80:]), le.Uint32(b[84:])
	from := le.Uint64(b[72:])
	if count > maxEntries || each < entryBytes || each > maxEntry || from < 2 || from >= uint64(t.Sectors) {
		return Table{}, errors.New("partition table: damaged: entries of impossible number, size or place")
	}
	entries := make([]byte, count*each)
	if _, err := disk.ReadAt(entries, int64(from)*t.Sector); err != nil {
		return Table{}, fmt.Errorf("read partition table: %w", err)
	}
	if crc32.ChecksumIEEE(entries) != le.Uint32(b[88:]) {
		return Table{}, errors.New("partition table: damaged: the checksum of its entries is wrong")
	}
	t.Kind = GPT
	t.ID = GUID(b[56:72]).swapped()
	return t.decode(entries, int(each), le.Uint64(b[40:]), le.Uint64(b[48:]))
}

// decode reads entries; their sectors are to be from first to last.
func (t Table) decode(entries []byte, each int, first, last uint64) (Table, error) {
	le := binary.LittleEndian
	if last >= uint64(t.Sectors) || first > last+1 {
		return Table{}, errors.New("partition table: damaged: it goes beyond the disk")
	}
	for i := 0; i*each < len(entries); i++ {
		e := entries[i*each : i*each+entryBytes]
		if bytes.Equal(e[:16], make([]byte, 16)) {
			t.Parts = append(t.Parts, Part{})
			continue
		}
		from, to := le.Uint64(e[32:]), le.Uint64(e[40:])
		if from < first || to > last || from > to {
			return Table{}, fmt.Errorf("partition table: damaged: partition %d lies outside of it", i+1)
		}
		name := make([]uint16, 0, maxName)
		for k := range maxName {
			u := le.Uint16(e[56+2*k:])
			if u == 0 {
				break
			}
			name = append(name, u)
		}
		t.Parts = append(t.Parts, Part{
			Start: int64(from), Sectors: int64(to - from + 1),
			Type: GUID(e[:16]).swapped(), ID: GUID(e[16:32]).swapped(),
			Name: string(utf16.Decode(name)), Boot: le.Uint64(e[48:])&legacyBoot != 0,
		})
	}
	for len(t.Parts) > 0 && t.Parts[len(t.Parts)-1] == (Part{}) {
		t.Parts = t.Parts[:len(t.Parts)-1]
	}
	return t, nil
}
