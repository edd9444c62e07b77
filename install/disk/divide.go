package disk

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ore"
	"ore/install/disk/table"
)

// mismatch says why a description does not mean a device, "" when it does.
func mismatch(m ore.Match, d Device) string {
	matches := func(pattern, s string) bool {
		ok, err := path.Match(pattern, s)
		return pattern == "" || ok && err == nil || pattern == s
	}
	switch {
	case d.Size < m.Least || m.Most > 0 && d.Size > m.Most:
		return "has " + bytesText(d.Size)
	case !matches(m.Model, d.Model):
		return fmt.Sprintf("is of model %q", d.Model)
	case !matches(m.Serial, d.Serial):
		return fmt.Sprintf("has serial number %q", d.Serial)
	case m.Path == "" && d.Virtual:
		return "is a virtual device, which is used only where its path is given"
	case m.Path == "" || matches(m.Path, d.Path()) || slices.ContainsFunc(d.Links, func(l string) bool { return matches(m.Path, l) }):
		return ""
	}
	return "is not " + m.Path
}

// startDisks says which disks the firmware starts from: those that hold what is
// mounted on /boot, or else on /.
func startDisks(s ore.Storage) map[int]bool {
	for _, mount := range []string{"/boot", "/"} {
		arrays, groups := map[string]bool{}, map[string]bool{}
		for _, v := range s.Volumes {
			if v.Mount == mount {
				groups[v.Group] = true
			}
		}
		for _, a := range s.Arrays {
			if a.Mount == mount || groups[a.Group] {
				arrays[a.Name] = true
			}
		}
		disks := map[int]bool{}
		for i, d := range s.Disks {
			for _, p := range d.Partitions {
				if p.Mount == mount || p.Array != "" && arrays[p.Array] || p.Group != "" && groups[p.Group] {
					disks[i] = true
				}
			}
		}
		if len(disks) > 0 {
			return disks
		}
	}
	return nil
}

// bios marks, in a partition's file system, room for GRUB's core image.
const bios = "bios"

// withFirmware returns the description with what the firmware needs before all
// else, on the disks that it starts from: a BIOS can start from each, and UEFI
// from the first, since its system partition cannot be mirrored.
func withFirmware(d ore.Disk, f Firmware, starts map[int]bool, index int) ore.Disk {
	first := index
	for i := range starts {
		first = min(first, i)
	}
	var extra ore.Partition
	switch described := slices.ContainsFunc(d.Partitions, func(p ore.Partition) bool { return p.Mount == SystemMount }); {
	case f == BIOS && starts[index] && d.Table != ore.MBR:
		extra = ore.Partition{Size: ore.Share{Bytes: biosBytes}, FileSystem: ore.FileSystem{Label: bios}}
	case f == UEFI && starts[index] && index == first && !described:
		extra = ore.Partition{Size: ore.Share{Bytes: systemBytes}, FileSystem: ore.FileSystem{FS: "vfat", Mount: SystemMount, Label: "EFI"}}
	default:
		return d
	}
	d.Partitions = append([]ore.Partition{extra}, d.Partitions...)
	return d
}

// divide computes a disk's partitions.
func (l Layout) divide(p *Placed, d ore.Disk, index int) error {
	kind := table.Kind(d.Table)
	if kind == "" {
		kind = table.GPT
	}
	t := table.Table{Kind: kind, Sector: p.Sector, Sectors: p.Size / p.Sector, ID: l.id("disk", fmt.Sprint(index))}
	if kind == table.MBR {
		t.ID = table.GUID(append(t.ID[:4:4], make([]byte, 12)...))
	}
	if kind == table.MBR && len(d.Partitions) > table.MaxPrimary {
		return fmt.Errorf("%d partitions, and mbr holds %d: use table: gpt, or fewer partitions", len(d.Partitions), table.MaxPrimary)
	}
	begin := int64(grain)
	end := (min(t.Last()+1, t.Sectors) * t.Sector) / grain * grain
	shares := make([]ore.Share, len(d.Partitions))
	for i, part := range d.Partitions {
		shares[i] = part.Size
	}
	sizes, err := portions(shares, end-begin, grain)
	if err != nil {
		return err
	}
	at := begin
	for i, part := range d.Partitions {
		what := fmt.Sprintf("part %d %d", index, i)
		m := Made{Device: p.Part(i + 1), Bytes: sizes[i], FileSystem: part.FileSystem, Array: part.Array, Group: part.Group}
		e := table.Part{Start: at / t.Sector, Sectors: sizes[i] / t.Sector}
		describe(&e, &m, kind)
		if kind == table.GPT {
			e.ID = l.id(what)
		}
		l.identify(&m, what)
		t.Parts = append(t.Parts, e)
		p.Parts = append(p.Parts, m)
		at += sizes[i]
	}
	if kind == table.MBR {
		activate(t.Parts, p.Parts)
	}
	p.Table = t
	return t.Check()
}

// describe gives a partition its type and name.
func describe(e *table.Part, m *Made, kind table.Kind) {
	gpt, code, name := table.TypeLinux, byte(0x83), strings.TrimPrefix(m.Mount, "/")
	switch {
	case m.Label == bios && m.FS == "":
		gpt, name, m.Label = table.TypeBIOS, bios, ""
	case m.Array != "":
		gpt, code, name = table.TypeRAID, 0xfd, m.Array
	case m.Group != "":
		gpt, code, name = table.TypeLVM, 0x8e, m.Group
	case m.FS == "swap":
		gpt, code, name = table.TypeSwap, 0x82, "swap"
	case m.FS == "vfat" && m.Mount == SystemMount:
		gpt, code, name = table.TypeSystem, 0xef, "efi"
	case m.FS == "vfat":
		code = 0x0c
	case m.Mount == "/":
		name = "root"
	}
	if kind == table.MBR {
		e.Code = code
		return
	}
	e.Type, _ = table.ParseGUID(gpt)
	if len(name) <= 36 && strings.IndexFunc(name, func(r rune) bool { return r > '~' }) < 0 {
		e.Name = name
	}
}

// activate marks where an old BIOS looks for the system: /boot, or else /, or
// else the first partition.
func activate(parts []table.Part, made []Made) {
	at := 0
	for _, mount := range []string{"/boot", "/"} {
		if i := slices.IndexFunc(made, func(m Made) bool { return m.Mount == mount }); i >= 0 {
			at = i
			break
		}
	}
	parts[at].Boot = true
}

// portions divides room into shares, all multiples of unit.
func portions(shares []ore.Share, room, unit int64) ([]int64, error) {
	room -= room % unit
	sizes := make([]int64, len(shares))
	left, rests := room, int64(0)
	for i, s := range shares {
		switch {
		case s.Rest:
			rests++
			continue
		case s.Percent > 0:
			sizes[i] = room / unit * int64(s.Percent) / 100 * unit
		default:
			sizes[i] = (s.Bytes + unit - 1) / unit * unit
		}
		if sizes[i] <= 0 || sizes[i] > room {
			return nil, fmt.Errorf("%s do not fit into %s: use a larger disk, or smaller sizes", shareText(s), bytesText(room))
		}
		left -= sizes[i]
	}
	if left < rests*unit {
		return nil, fmt.Errorf("its parts need %s and there are %s: use a larger disk, or smaller sizes", bytesText(room-left+rests*unit), bytesText(room))
	}
	for i, s := range shares {
		if !s.Rest {
			continue
		}
		if sizes[i] = left / unit / rests * unit; rests == 1 {
			sizes[i] = left
		}
		left -= sizes[i]
		rests--
	}
	return sizes, nil
}

func shareText(s ore.Share) string {
	if s.Percent > 0 {
		return fmt.Sprintf("%d%%", s.Percent)
	}
	return bytesText(s.Bytes)
}
