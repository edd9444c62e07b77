package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ore/install/disk/signature"
	"ore/install/disk/table"
)

// Device is a disk as the kernel shows it.
type Device struct {
	Name     string   // the kernel's: "sda", "nvme0n1"
	Links    []string // what else it is called: "/dev/disk/by-id/..."
	Size     int64    // bytes
	Sector   int64    // bytes of a logical sector
	ReadOnly bool
	Model    string
	Serial   string
	Busy     string // who uses it, or a part of it; "" when nobody does
	Virtual  bool   // a loop device or the like: used only where its path is given
}

// Path returns the device's file.
func (d Device) Path() string { return "/dev/" + d.Name }

// Part returns the file of the device's partition n, which the kernel names
// with a p where the disk's name ends in a digit.
func (d Device) Part(n int) string {
	if c := d.Name[len(d.Name)-1]; c >= '0' && c <= '9' {
		return d.Path() + "p" + strconv.Itoa(n)
	}
	return d.Path() + strconv.Itoa(n)
}

// Holds is what is on a device.
type Holds struct {
	Table   *table.Table
	Damaged string            // why a table that is there cannot be read
	Parts   []signature.Found // of its partitions that are not empty
	Whole   *signature.Found  // without a table: of the device
	Mark    *Mark
}

// Empty says whether nothing would be lost.
func (h Holds) Empty() bool {
	return h.Damaged == "" && h.Whole == nil && (h.Table == nil || len(h.Table.Parts) == 0)
}

// String says for people what is there.
func (h Holds) String() string {
	switch {
	case h.Damaged != "":
		return "a damaged partition table"
	case h.Table != nil && len(h.Table.Parts) > 0:
		var what []string
		for _, f := range h.Parts {
			what = append(what, f.String())
		}
		n := 0
		for _, p := range h.Table.Parts {
			if p.Sectors > 0 {
				n++
			}
		}
		s := fmt.Sprintf("%d partitions", n)
		if n == 1 {
			s = "1 partition"
		}
		if len(what) > 0 {
			s += " (" + strings.Join(what, ", ") + ")"
		}
		return s
	case h.Whole != nil:
		return h.Whole.String()
	}
	return "nothing"
}

// Seen is a device and what it holds.
type Seen struct {
	Device
	Holds
}

// System is where the kernel shows devices: the root folder, but in tests.
type System struct{ Root string }

func (s System) at(path ...string) string { return filepath.Join(append([]string{s.Root}, path...)...) }

// Devices returns all disks in the kernel's order, by what stands in /sys/block
// (Documentation/ABI/stable/sysfs-block): those that are there, can hold
// partitions and are no part of another.
func (s System) Devices() ([]Device, error) {
	entries, err := os.ReadDir(s.at("/sys/block"))
	if err != nil {
		return nil, fmt.Errorf("find disks: %w", err)
	}
	links := s.links()
	var all []Device
	for _, e := range entries {
		d := Device{Name: e.Name()}
		for _, p := range []string{"ram", "zram", "sr", "fd", "dm-", "md", "mtdblock"} {
			if strings.HasPrefix(d.Name, p) {
				d.Name = ""
				break
			}
		}
		if d.Name == "" {
			continue
		}
		if s.describe(&d); d.Size > 0 {
			d.Links = links[d.Name]
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b Device) int {
		if len(a.Name) != len(b.Name) && strings.TrimRight(a.Name, "abcdefghijklmnopqrstuvwxyz") == "" && strings.TrimRight(b.Name, "abcdefghijklmnopqrstuvwxyz") == "" {
			return len(a.Name) - len(b.Name) // sdz before sdaa
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

func (s System) describe(d *Device) {
	block := s.at("/sys/block", d.Name)
	d.Virtual = strings.HasPrefix(d.Name, "loop") || strings.HasPrefix(d.Name, "nbd")
	d.Size = number(block, "size") * 512 // always in units of 512 bytes
	if d.Sector = number(block, "queue/logical_block_size"); d.Sector == 0 {
		d.Sector = 512
	}
	d.ReadOnly = number(block, "ro") != 0
	d.Model = firstLine(block, "device/model", "device/name")
	if d.Serial = firstLine(block, "serial", "device/serial"); d.Serial == "" {
		d.Serial = page80(block)
	}
	d.Busy = s.user(d.Name)
}

// user says who uses a disk or one of its partitions: what is stacked on it, or
// where it is mounted or swapped to.
func (s System) user(name string) string {
	parts, _ := filepath.Glob(filepath.Join(s.at("/sys/block", name), name+"*"))
	for _, dir := range append([]string{s.at("/sys/block", name)}, parts...) {
		if holders, _ := os.ReadDir(filepath.Join(dir, "holders")); len(holders) > 0 {
			return "part of " + holders[0].Name()
		}
	}
	own := func(device string) bool {
		rest, ok := strings.CutPrefix(device, "/dev/"+name)
		return ok && strings.Trim(rest, "p0123456789") == ""
	}
	for _, file := range []string{"/proc/mounts", "/proc/swaps"} {
		b, _ := os.ReadFile(s.at(file))
		for _, line := range strings.Split(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) < 2 || !own(f[0]) {
				continue
			}
			if file == "/proc/swaps" {
				return "swap"
			}
			return "mounted on " + f[1]
		}
	}
	return ""
}

// links returns udev's links by the name of what they lead to.
func (s System) links() map[string][]string {
	all := map[string][]string{}
	filepath.WalkDir(s.at("/dev/disk"), func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type() == fs.ModeSymlink {
			if to, err := os.Readlink(p); err == nil {
				name := filepath.Base(to)
				all[name] = append(all[name], strings.TrimPrefix(p, strings.TrimSuffix(s.Root, "/")))
			}
		}
		return nil
	})
	return all
}

func number(dir, file string) int64 {
	b, _ := os.ReadFile(filepath.Join(dir, file))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// firstLine returns the first of some files that has something in it.
func firstLine(dir string, files ...string) string {
	for _, f := range files {
		b, _ := os.ReadFile(filepath.Join(dir, f))
		if s := strings.TrimSpace(strings.ToValidUTF8(string(b), "")); s != "" {
			return s
		}
	}
	return ""
}

// page80 returns a SCSI disk's unit serial number (SPC-4, vital product data
// page 80h: a header of four bytes, then the text).
func page80(dir string) string {
	b, _ := os.ReadFile(filepath.Join(dir, "device/vpd_pg80"))
	if len(b) < 4 {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(strings.Trim(string(b[4:]), "\x00"), ""))
}

// Look reads what a device holds.
func Look(d Device) (Seen, error) {
	s := Seen{Device: d}
	f, err := os.Open(d.Path())
	if err != nil {
		return s, fmt.Errorf("look at disk: %w", err)
	}
	defer f.Close()
	// Partitions have caches of their own: what somebody has read of the whole disk
	// before need not be what stands there by now. Where it cannot be dropped, as in
	// a disk image, it is no other.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	if s.Mark, err = readMark(f); err != nil {
		return s, fmt.Errorf("look at disk %s: %w: the disk may be broken: replace it, or leave it out of disks", d.Path(), err)
	}
	t, err := table.Read(f, d.Size, d.Sector)
	switch {
	case errors.Is(err, table.ErrNone):
		s.Whole, err = signature.Read(beside{f}, d.Size)
	case err != nil:
		s.Damaged, err = err.Error(), nil
	default:
		s.Table = &t
		err = s.lookAtParts(f)
	}
	if err != nil {
		return s, fmt.Errorf("look at disk %s: %w: the disk may be broken: replace it, or leave it out of disks", d.Path(), err)
	}
	return s, nil
}

func (s *Seen) lookAtParts(f *os.File) error {
	for _, p := range s.Table.Parts {
		if p.Sectors == 0 {
			continue
		}
		found, err := signature.Read(section(f, p.Start*s.Sector), p.Sectors*s.Sector)
		if err != nil {
			return err
		}
		if found != nil {
			s.Parts = append(s.Parts, *found)
		}
	}
	if len(s.Table.Parts) == 0 && s.Table.Kind == table.MBR { // perhaps a boot sector of a file system
		whole, err := signature.Read(beside{f}, s.Size)
		if err != nil {
			return err
		}
		if whole != nil && whole.Kind != "data" {
			s.Table, s.Whole = nil, whole
		}
	}
	return nil
}
