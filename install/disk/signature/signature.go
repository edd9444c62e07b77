// Package signature tells what a disk, a partition or a file holds by the marks
// that file systems and the like put at known places, as libblkid and wipefs(8)
// do. Only what a Linux machine may meet is known; what is not known but not
// empty either is told as such, so that nobody's data is taken for nothing.
package signature

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Edge is how much at both ends of a device says whether it is empty: every
// known signature but those far inside of a file system is there.
const Edge = 1 << 20

// Found is what a device holds.
type Found struct {
	Kind  string // "ext4", "xfs", "lvm", "raid" ...; "data" when it is not known
	UUID  string // as fstab(5) takes it
	Label string
}

// String returns a short description for people.
func (f Found) String() string {
	if f.Label != "" {
		return fmt.Sprintf("%s %q", f.Kind, f.Label)
	}
	return f.Kind
}

// mark is bytes at a place.
type mark struct {
	kind   string
	at     int64
	text   string
	decode func(f *Found, b []byte) // b begins where the device does
}

// marks returns all that is known, in the order in which it is looked for: what
// contains others first. The places are those of util-linux's libblkid and of
// the formats' own descriptions.
func marks() []mark {
	ms := []mark{
		{"luks", 0, "LUKS\xba\xbe", nil},
		{"raid", 4096, "\xfc\x4e\x2b\xa9", raidAt(4096)}, // md(4), version 1.2
		{"raid", 0, "\xfc\x4e\x2b\xa9", raidAt(0)},       // version 1.1
		{"btrfs", 65536 + 64, "_BHRfS_M", func(f *Found, b []byte) {
			f.UUID, f.Label = uuid(b[65536+32:]), text(b[65536+299:], 256)
		}},
		{"xfs", 0, "XFSB", func(f *Found, b []byte) { f.UUID, f.Label = uuid(b[32:]), text(b[108:], 12) }},
		{"ext4", 1024 + 56, "\x53\xef", func(f *Found, b []byte) { f.UUID, f.Label = uuid(b[1024+104:]), text(b[1024+120:], 16) }},
		{"swap", 4096 - 10, "SWAPSPACE2", func(f *Found, b []byte) { f.UUID, f.Label = uuid(b[1024+12:]), text(b[1024+28:], 16) }},
		{"swap", 4096 - 10, "SWAP-SPACE", nil},
		{"hibernation", 4096 - 10, "S1SUSPEND", nil},
		{"squashfs", 0, "hsqs", nil},
		{"erofs", 1024, "\xe2\xe1\xf5\xe0", nil},
		{"f2fs", 1024, "\x10\x20\xf5\xf2", nil},
		{"bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", nil},
		{"bitlocker", 3, "-FVE-FS-", nil},
		{"ntfs", 3, "NTFS    ", nil},
		{"exfat", 3, "EXFAT   ", nil},
		{"iso9660", 32769, "CD001", nil},
		{"udf", 32769, "NSR0", nil},
		{"jfs", 32768, "JFS1", nil},
		{"reiserfs", 65536 + 52, "ReIsEr", nil},
		{"zfs", 128 << 10, "\x0c\xb1\xba\x00\x00\x00\x00\x00", nil},
		{"ceph", 0, "bluestore block device", nil},
		{"vfat", 82, "FAT32   ", fat(67, 71)},
		{"vfat", 54, "FAT16   ", fat(39, 43)},
		{"vfat", 54, "FAT12   ", fat(39, 43)},
	}
	for sector := int64(0); sector < 4; sector++ { // lvm(8) writes its label into one of the first four
		at := sector * 512
		ms = append(ms, mark{"lvm", at, "LABELONE", func(f *Found, b []byte) { f.UUID = lvm(b[at:]) }})
	}
	return ms
}

func raidAt(at int) func(*Found, []byte) {
	return func(f *Found, b []byte) { f.UUID, f.Label = uuid(b[at+16:]), text(b[at+32:], 32) }
}

// fat reads the serial number and the label, which "NO NAME" stands for none.
func fat(serial, label int) func(*Found, []byte) {
	return func(f *Found, b []byte) {
		n := binary.LittleEndian.Uint32(b[serial:])
		f.UUID = fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
		if l := strings.TrimRight(text(b[label:], 11), " "); l != "NO NAME" {
			f.Label = l
		}
	}
}

func uuid(b []byte) string {
	if bytes.Equal(b[:16], make([]byte, 16)) {
		return ""
	}
	h := hex.EncodeToString(b[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// text returns at most n bytes up to the first NUL.
func text(b []byte, n int) string {
	b, _, _ = bytes.Cut(b[:n], []byte{0})
	return strings.ToValidUTF8(string(b), "?")
}

// lvm returns the identifier of a physical volume, with LVM's hyphens.
func lvm(b []byte) string {
	id := text(b[32:], 32)
	if len(id) != 32 {
		return ""
	}
	return id[:6] + "-" + id[6:10] + "-" + id[10:14] + "-" + id[14:18] + "-" + id[18:22] + "-" + id[22:26] + "-" + id[26:]
}

// Read says what a device of so many bytes holds: nothing (nil), what its
// signature says, or "data".
func Read(device io.ReaderAt, size int64) (*Found, error) {
	head, err := edge(device, 0, size)
	if err != nil {
		return nil, err
	}
	for _, m := range marks() {
		if end := m.at + int64(len(m.text)); end > int64(len(head)) || end > size || string(head[m.at:end]) != m.text {
			continue
		}
		f := &Found{Kind: m.kind}
		if m.decode != nil {
			m.decode(f, head)
		}
		return f, nil
	}
	tail, err := edge(device, max(0, size-Edge), size)
	if err != nil {
		return nil, err
	}
	if f := atEnd(tail, size); f != nil {
		return f, nil
	}
	if blank(head) && blank(tail) {
		return nil, nil
	}
	return &Found{Kind: "data"}, nil
}

// edge reads up to Edge bytes, and some more that are zero, so that what begins
// at the edge can be decoded.
func edge(device io.ReaderAt, at, size int64) ([]byte, error) {
	b := make([]byte, Edge+4096)
	n, err := device.ReadAt(b[:min(Edge, size-at)], at)
	if err != nil && !(errors.Is(err, io.EOF) && int64(n) == min(Edge, size-at)) {
		return nil, fmt.Errorf("read what it holds: %w", err)
	}
	return b, nil
}

// atEnd finds arrays whose superblock is at a device's end: version 0.90 in the
// last whole 64 KiB but one, version 1.0 at 8 KiB before the end, on a multiple
// of 4 KiB (md(4)).
func atEnd(tail []byte, size int64) *Found {
	begin := max(0, size-Edge)
	old := size&^(64<<10-1) - 64<<10
	new := (size - 8<<10) &^ (4<<10 - 1)
	for _, at := range []int64{old, new} {
		if at >= begin && string(tail[at-begin:at-begin+4]) == "\xfc\x4e\x2b\xa9" {
			return &Found{Kind: "raid"}
		}
	}
	return nil
}

func blank(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	return bytes.Count(b, []byte{0}) == len(b)
}
