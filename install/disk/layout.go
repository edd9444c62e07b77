package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ore"
	"ore/install/disk/table"
)

// Sizes of a layout, each with its reason.
const (
	// grain is what partitions begin and end at: a multiple of what any disk,
	// RAID controller or flash memory works in.
	grain = 1 << 20
	// biosBytes is room for GRUB's core image, of which no more than some
	// hundred KiB are used.
	biosBytes = 1 << 20
	// systemBytes is room for boot loaders and some kernels; FAT32 needs 33 MiB.
	systemBytes = 256 << 20
	// SystemMount is where an EFI system partition is mounted.
	SystemMount = "/boot/efi"
	// memberBytes is what an array or a group takes of each member at its begin.
	memberBytes = 1 << 20
	// chunk is what arrays stripe by.
	chunk = 512 << 10
	// extent is what volumes are made of.
	extent = 4 << 20
)

// smallest returns what mkfs needs at least for a file system that is of use:
// xfsprogs refuses less than 300 MB, btrfs-progs less than 109 MiB, FAT32 has
// no fewer than 65525 clusters.
func smallest(fs string) int64 {
	switch fs {
	case "ext4":
		return 8 << 20
	case "xfs":
		return 300 << 20
	case "btrfs":
		return 128 << 20
	case "vfat":
		return 34 << 20
	}
	return 1 << 20
}

// Firmware is what starts the machine later.
type Firmware string

// The kinds of firmware; None is a kernel that somebody starts directly.
const (
	None Firmware = ""
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Wish is what a layout is computed from.
type Wish struct {
	Storage  ore.Storage // empty for the default: one file system over the first disk
	Firmware Firmware
	Machine  string // who the machine is: no two have the same
}

// Layout is what will be, exactly.
type Layout struct {
	Disks  []Placed
	Arrays []Array
	Groups []Group
	digest [sha256.Size]byte
}

// Placed is a device and its table.
type Placed struct {
	Seen
	Wipe  bool
	Table table.Table
	Parts []Made // of the table's partitions, by number
}

// Made is something that holds a file system, or is part of something larger.
type Made struct {
	Device string // its file: "/dev/sda1", "/dev/md0", "/dev/mapper/vg-home"
	Bytes  int64
	ore.FileSystem
	Array, Group string
}

// Array is an array of partitions.
type Array struct {
	ore.RAID
	ID      string
	Members []string
	Made
}

// Group is a volume group.
type Group struct {
	Name    string
	Members []string
	Extents int64
	Volumes []Volume
}

// Volume is a volume of a group.
type Volume struct {
	Name    string
	Extents int64
	Made
}

// digest is what identifiers are made from: all that the layout depends on, but
// for the devices.
func (w Wish) digest() [sha256.Size]byte {
	b, err := json.Marshal(struct {
		Wish
		Need int // which marks on disks were made with, and is 0 there
	}{Wish: w})
	if err != nil {
		panic("disk: a wish holds only strings and numbers: " + err.Error())
	}
	return sha256.Sum256(b)
}

// Default returns the description that is meant when none is given.
func Default() ore.Storage {
	return ore.Storage{Disks: []ore.Disk{{Table: ore.GPT, Partitions: []ore.Partition{
		{Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}},
	}}}}
}

// Arrange computes the layout. It looks at no device: what there is comes in.
// An error says what does not fit and what to do.
func Arrange(w Wish, seen []Seen) (Layout, error) {
	l := Layout{digest: w.digest()}
	s := w.Storage
	if s.Empty() {
		s = Default()
	}
	devices, err := l.choose(s.Disks, seen)
	if err != nil {
		return l, err
	}
	startsFrom := startDisks(s)
	for i, d := range s.Disks {
		p := Placed{Seen: devices[i], Wipe: d.Wipe}
		all := withFirmware(d, w.Firmware, startsFrom, i)
		if err := l.divide(&p, all, i); err != nil {
			added := ""
			if len(all.Partitions) > len(d.Partitions) {
				added = fmt.Sprintf("with the partition of %s that the firmware (%s) needs: ", bytesText(all.Partitions[0].Size.Bytes), w.Firmware)
			}
			return l, fmt.Errorf("disk %s: %s%w", p.Path(), added, err)
		}
		l.Disks = append(l.Disks, p)
	}
	if err := l.join(s); err != nil {
		return l, err
	}
	return l, l.check()
}

// join computes arrays and groups from their members.
func (l *Layout) join(s ore.Storage) error {
	for i, a := range s.Arrays {
		made := Array{RAID: a, ID: l.id("array", a.Name).String(), Made: Made{Device: fmt.Sprintf("/dev/md%d", i), FileSystem: a.FileSystem, Group: a.Group}}
		var sizes []int64
		l.parts(func(m Made) {
			if m.Array == a.Name {
				made.Members = append(made.Members, m.Device)
				sizes = append(sizes, m.Bytes)
			}
		})
		made.Bytes = capacity(a.Level, sizes)
		if made.Bytes <= 0 {
			return fmt.Errorf("array %s: nothing is left of its %d members: make them larger than %s", a.Name, len(sizes), bytesText(memberBytes+chunk))
		}
		l.identify(&made.Made, "array "+a.Name)
		l.Arrays = append(l.Arrays, made)
	}
	var names []string
	for _, v := range s.Volumes {
		if !slices.Contains(names, v.Group) {
			names = append(names, v.Group)
		}
	}
	for _, name := range names {
		g := Group{Name: name}
		add := func(m Made) {
			if m.Group == name {
				g.Members = append(g.Members, m.Device)
				g.Extents += max(0, m.Bytes-memberBytes) / extent
			}
		}
		l.parts(add)
		for _, a := range l.Arrays {
			add(a.Made)
		}
		if err := l.fill(&g, s.Volumes); err != nil {
			return fmt.Errorf("group %s: %w", name, err)
		}
		l.Groups = append(l.Groups, g)
	}
	return nil
}

// capacity returns what an array holds (md(4), with chunks of 512 KiB): of each
// member as many whole chunks as all have, but of a stripe's all that each has.
func capacity(level int, members []int64) int64 {
	if len(members) == 0 {
		return 0
	}
	n, each := int64(len(members)), slices.Min(members)-memberBytes
	if level == 1 {
		return each
	}
	each -= each % chunk
	switch level {
	case 0:
		sum := int64(0)
		for _, m := range members {
			sum += (m - memberBytes) / chunk * chunk
		}
		return sum
	case 5:
		return each * (n - 1)
	case 6:
		return each * (n - 2)
	}
	return each / chunk * n / 2 * chunk // level 10: each chunk twice
}

// fill gives a group's volumes their extents.
func (l *Layout) fill(g *Group, volumes []ore.Volume) error {
	var shares []ore.Share
	for _, v := range volumes {
		if v.Group == g.Name {
			shares = append(shares, v.Size)
			g.Volumes = append(g.Volumes, Volume{Name: v.Name, Made: Made{Device: "/dev/mapper/" + g.Name + "-" + v.Name, FileSystem: v.FileSystem}})
		}
	}
	sizes, err := portions(shares, g.Extents*extent, extent)
	if err != nil {
		return err
	}
	for i := range g.Volumes {
		v := &g.Volumes[i]
		v.Bytes, v.Extents = sizes[i], sizes[i]/extent
		l.identify(&v.Made, "volume "+g.Name+"/"+v.Name)
	}
	return nil
}

// parts calls do for each partition of each disk.
func (l Layout) parts(do func(Made)) {
	for _, d := range l.Disks {
		for _, p := range d.Parts {
			do(p)
		}
	}
}

// FileSystems returns all that are to be made, those first under which others
// are mounted.
func (l Layout) FileSystems() []Made {
	var all []Made
	add := func(m Made) {
		if m.FS != "" {
			all = append(all, m)
		}
	}
	l.parts(add)
	for _, a := range l.Arrays {
		add(a.Made)
	}
	for _, g := range l.Groups {
		for _, v := range g.Volumes {
			add(v.Made)
		}
	}
	slices.SortStableFunc(all, func(a, b Made) int { return strings.Compare(a.Mount, b.Mount) })
	return all
}

// check refuses file systems that are too small.
func (l Layout) check() error {
	for _, m := range l.FileSystems() {
		if least := smallest(m.FS); m.Bytes < least {
			return fmt.Errorf("%s on %s: it gets %s and needs %s: use a larger disk, or give it more", name(m), m.Device, bytesText(m.Bytes), bytesText(least))
		}
	}
	return nil
}

func name(m Made) string {
	if m.Mount == "" {
		return m.FS
	}
	return m.FS + " for " + m.Mount
}

// id derives an identifier of version 8 (RFC 9562, 5.8) from the layout.
func (l Layout) id(what ...string) table.GUID {
	sum := sha256.Sum256(append(append([]byte{}, l.digest[:]...), strings.Join(what, "\x00")...))
	g := table.GUID(sum[:16])
	g[6] = g[6]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}

// identify gives a file system an identifier, unless the description did.
func (l Layout) identify(m *Made, what string) {
	if m.FS == "" || m.UUID != "" {
		return
	}
	g := l.id("fs", what)
	m.UUID = g.String()
	if m.FS == "vfat" {
		h := strings.ToUpper(hex.EncodeToString(g[:4]))
		m.UUID = h[:4] + "-" + h[4:]
	}
}

// State says how far this layout has come on the devices as they were seen.
func (l Layout) State() State {
	least := Installed
	for i, d := range l.Disks {
		switch m := d.Mark; {
		case m == nil || m.Layout != l.digest || m.Index != i:
			return Nothing
		case m.State > Begun && !l.whole(d):
			return Nothing // another system has been put over it since
		case m.State < least:
			least = m.State
		}
	}
	return least
}

// whole says whether the table on a disk is the layout's.
func (l Layout) whole(d Placed) bool {
	t := d.Holds.Table
	if t == nil || t.Kind != d.Table.Kind || len(t.Parts) != len(d.Table.Parts) || !sameTable(t.ID, d.Table.ID) {
		return false
	}
	for i, p := range t.Parts {
		w := d.Table.Parts[i]
		if p.Start != w.Start || p.Sectors != w.Sectors || !bytes.Equal(p.ID[:], w.ID[:]) {
			return false
		}
	}
	return true
}

// Refuse says why the layout must not be carried out: what would be lost, or
// cannot be written.
func (l Layout) Refuse() error {
	for _, d := range l.Disks {
		switch {
		case d.ReadOnly:
			return fmt.Errorf("disk %s: it is read-only: remove its write protection, or choose another with match", d.Path())
		case d.Busy != "":
			return fmt.Errorf("disk %s: it is in use, %s: choose another with match", d.Path(), d.Busy)
		case d.Wipe || d.Empty() || d.ours():
		case d.Mark != nil && d.Mark.State == Installed && d.Holds.Table != nil && sameTable(d.Holds.Table.ID, d.Mark.Table):
			return fmt.Errorf("disk %s: a machine is installed there (%s): start it, or set wipe: true to lose it", d.Path(), d.Holds)
		default:
			return fmt.Errorf("disk %s: it holds %s: set wipe: true to lose that, or choose another with match", d.Path(), d.Holds)
		}
	}
	return nil
}

// bytesText writes a size for people, in whole MiB where it is larger.
func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", max(n, 0))
}
