package draft

import (
	"regexp"
	"slices"
	"strings"

	"ore"
	"ore/job"
)

// Part is a partition, array or volume as an installer's description has it.
type Part struct {
	Mount, FS, Label string
	Size             ore.Share
}

// FileSystem returns what is to be made of a part, with the file system's name
// as a job file has it. Names that it does not have become ext4, and that is said.
func (p *Place) FileSystem(part Part) ore.FileSystem {
	f := ore.FileSystem{FS: part.FS, Mount: part.Mount, Label: part.Label}
	switch strings.ToLower(part.FS) {
	case "", "default", "ext4":
		f.FS = "ext4"
	case "ext2", "ext3", "reiserfs", "jfs":
		p.Leave(part.FS, "ext4 is made instead")
		f.FS = "ext4"
	case "xfs", "btrfs":
		f.FS = strings.ToLower(part.FS)
	case "vfat", "efi", "fat32", "fat16", "msdos":
		f.FS = "vfat"
	case "swap", "linux-swap":
		f.FS = "swap"
	default:
		p.Leave("file system "+part.FS, "ext4 is made instead")
		f.FS = "ext4"
	}
	if f.FS == "swap" || f.Mount == "swap" || f.Mount == "none" || f.Mount == "-" {
		if f.Mount == "swap" {
			f.FS = "swap"
		}
		f.Mount = ""
	}
	if f.Mount != "" && !mountPoint(f.Mount) {
		p.Leave("mount point "+f.Mount, "nothing can be mounted there")
		f.Mount = ""
	}
	if why := job.NotOnDisk(f.Mount); why != "" {
		p.Leave("mount point "+f.Mount, "%s", why)
		f.Mount = ""
	}
	if f.Label != "" && (len(f.Label) > 11 || !plainLabel.MatchString(f.Label)) {
		p.Leave("label "+f.Label, "not all file systems take it")
		f.Label = ""
	}
	return f
}

var (
	plainLabel = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	plainName  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.]{0,30}$`)
	plainMount = regexp.MustCompile(`^/([A-Za-z0-9_+][A-Za-z0-9_.+@-]*(/[A-Za-z0-9_+][A-Za-z0-9_.+@-]*)*)?$`)
	plainDisk  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.:+/-]*$`)
)

// mountPoint takes plain paths only.
func mountPoint(s string) bool { return plainMount.MatchString(s) }

// Name returns a name for an array, a group or a volume, of the characters that
// one may have.
func Name(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '_'
	}, s)
	s = strings.TrimLeft(s[:min(len(s), 31)], ".")
	if !plainName.MatchString(s) {
		return "x"
	}
	return s
}

// maxDisks and maxParts keep a draft within what a job file takes.
const maxDisks, maxParts = 24, 100

// Disk returns the disk of a device's name such as sda or /dev/sda, "" for the
// first one. It returns nil where the name is none, or there are too many.
func (p *Place) Disk(name string) *ore.Disk {
	path := ""
	name = strings.TrimPrefix(name, "/dev/")
	if l, ok := strings.CutPrefix(name, "hd"); ok && len(l) == 1 {
		name = "sd" + l
		path = "/dev/" + name
		if !slices.ContainsFunc(p.Storage.Disks, func(d ore.Disk) bool { return d.Match.Path == path }) {
			p.Leave("disk hd"+l, "kernels of today call it %s, or otherwise: correct match", name)
		}
	}
	if name != "" {
		path = "/dev/" + name
		if !plainDisk.MatchString(name) || strings.Contains(name, "..") || strings.Contains(name, "//") || strings.HasSuffix(name, "/") || strings.Contains(name, "/.") {
			p.Leave("disk "+name, "this is no device's name")
			return nil
		}
	}
	s := &p.Storage
	if i := slices.IndexFunc(s.Disks, func(d ore.Disk) bool { return d.Match.Path == path }); i >= 0 {
		return &s.Disks[i]
	}
	if len(s.Disks) == maxDisks {
		p.Leave("disk "+name, "a job file has no more than %d", maxDisks)
		return nil
	}
	s.Disks = append(s.Disks, ore.Disk{Match: ore.Match{Path: path}, Table: ore.GPT})
	return &s.Disks[len(s.Disks)-1]
}

// NotKept is what becomes of what an installer would keep.
const NotKept = "nothing is kept of a disk that is divided: wipe is left out, so that it is divided only if it is empty"

// Keep notes that the installer would keep something of a disk, which is named by
// its device or by that of a partition: by another name, or none, it may be any of
// them. A disk is divided anew here, or left alone: so whatever else is said of it, it
// does not get wipe, and nothing is lost of it until somebody says so.
func (p *Place) Keep(device, what string) {
	p.Leave(what, NotKept)
	path := ""
	if m := kernels.FindStringSubmatch(strings.TrimPrefix(device, "/dev/")); m != nil {
		path = "/dev/" + m[1] + m[2]
	}
	if l, ok := strings.CutPrefix(path, "/dev/hd"); ok {
		path = "/dev/sd" + l // as Disk calls it
	}
	p.kept = append(p.kept, path)
}

// kernels are the kernel's names of disks and of their partitions.
var kernels = regexp.MustCompile(`^(?:((?:sd|hd|vd|xvd)[a-z]+)[0-9]*|(nvme[0-9]+n[0-9]+|mmcblk[0-9]+)(?:p[0-9]+)?)$`)

// keeps says whether the disk of a path can be one of which something is kept. A path
// that is not the kernel's own name can be that of any.
func (d *Draft) keeps(path string) bool {
	return slices.ContainsFunc(d.kept, func(k string) bool {
		return k == "" || k == path || !kernels.MatchString(strings.TrimPrefix(path, "/dev/"))
	})
}

// Partition adds a partition to a disk.
func (p *Place) Partition(disk string, part ore.Partition) {
	if d := p.Disk(disk); d != nil {
		p.Add(d, part)
	}
}

// Add adds a partition to a disk of the draft.
func (p *Place) Add(d *ore.Disk, part ore.Partition) {
	if len(d.Partitions) == maxParts {
		p.Leave("partition", "a disk has no more than %d", maxParts)
		return
	}
	d.Partitions = append(d.Partitions, part)
}

// The sizes that a job file takes, job.MaxDisk and its grain.
const leastSize, mostSize = 1 << 20, 16 << 40

// Bytes returns a share of so many bytes, within what a job file takes.
func Bytes(n int64) ore.Share {
	return ore.Share{Bytes: min(max(n, leastSize), mostSize)}
}
