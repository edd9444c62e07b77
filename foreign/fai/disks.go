package fai

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/foreign/draft"
)

// storage is what disk_config says, before all of it is known.
type storage struct {
	index map[string]int // of disks by the names that FAI gives them
	next  map[string]int // the number of a disk's next partition, and of its next logical one
	parts map[string]part
	later []func() // members that are taken once all partitions are known
	kind  string   // "disk", "lvm", "raid" or "" for a kind that is left
	disk  string
}

// part is where a partition is.
type part struct {
	draft     *draft.Draft
	disk, own int
}

func (p part) get() *ore.Partition { return &p.draft.Storage.Disks[p.disk].Partitions[p.own] }

func (s *storage) read(d *draft.Draft, from Source) {
	if s.index == nil {
		s.index, s.next, s.parts = map[string]int{}, map[string]int{}, map[string]part{}
	}
	for i, line := range strings.Split(string(from.Data), "\n") {
		p := d.At(from.Name, i+1)
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "disk_config":
			s.begin(p, f[1:])
		case s.kind == "disk":
			s.partition(p, f)
		case s.kind == "lvm":
			s.lvm(p, f)
		case s.kind == "raid":
			s.raid(p, f)
		}
	}
}

// begin reads the line that begins a part of the description.
func (s *storage) begin(p *draft.Place, f []string) {
	s.kind = ""
	if len(f) == 0 || f[0] == "end" {
		return
	}
	switch f[0] {
	case "lvm", "raid":
		s.kind = f[0]
		return
	case "cryptsetup", "btrfs", "tmpfs", "nfs":
		p.Leave("disk_config "+f[0], "there is nothing like it in a job file")
		return
	}
	s.kind, s.disk = "disk", f[0]
	d := s.find(p, f[0])
	if d == nil {
		s.kind = ""
		return
	}
	d.Wipe = true // what is not preserved, FAI destroys
	for _, o := range f[1:] {
		switch name, value, _ := strings.Cut(o, ":"); {
		case name == "disklabel" && (value == "msdos" || value == "mbr"):
			d.Table = ore.MBR
		case name == "disklabel" && (value == "gpt" || value == "gpt-bios"), name == "bootable", name == "fstabkey", name == "align-at":
		case strings.HasPrefix(name, "preserve") || strings.HasPrefix(name, "resize"):
			s.preserve(p, o)
		default:
			p.Leave(o, "there is nothing like it in a job file")
		}
	}
}

// preserve notes that a disk has something that FAI would keep. A disk is divided
// anew here, or left alone: so nothing may be lost of it until somebody says so.
func (s *storage) preserve(p *draft.Place, what string) {
	if d := s.find(p, s.disk); d != nil {
		d.Wipe = false
	}
	p.Leave(what, "nothing is kept of a disk that is divided: wipe is left out, so that it is divided only if it is empty")
}

var numbered = regexp.MustCompile(`^disk([1-9][0-9]?)$`)

// find returns the disk that FAI calls name; disk1 is the first, whatever the
// kernel calls it.
func (s *storage) find(p *draft.Place, name string) *ore.Disk {
	disks := &p.Storage.Disks
	if i, ok := s.index[name]; ok {
		return &(*disks)[i]
	}
	if numbered.MatchString(name) {
		*disks = append(*disks, ore.Disk{Table: ore.GPT})
		s.index[name] = len(*disks) - 1
		return &(*disks)[len(*disks)-1]
	}
	d := p.Disk(name)
	if d != nil {
		s.index[name] = slices.IndexFunc(*disks, func(o ore.Disk) bool { return o.Match == d.Match })
	}
	return d
}

// partition reads: type mount size file-system options, or in old files: type
// mount size options ; -j ext3.
func (s *storage) partition(p *draft.Place, f []string) {
	if len(f) < 3 || !slices.Contains([]string{"primary", "logical", "raw-disk"}, f[0]) {
		p.Leave(strings.Join(f, " "), "a partition is: primary or logical, mount point, size, file system")
		return
	}
	fs := system(f)
	if strings.Contains(f[2], "preserve") || strings.Contains(f[2], "resize") || f[0] == "raw-disk" {
		s.preserve(p, strings.Join(f, " "))
		return
	}
	made := ore.Partition{Size: size(p, f[2])}
	if f[1] != "-" || fs != "-" && fs != "" {
		label := ""
		for _, o := range f[3:] {
			if l, ok := strings.CutPrefix(o, "createopts="); ok {
				if _, after, ok := strings.Cut(l, "-L "); ok {
					label = strings.Trim(after, `"`)
				}
			}
		}
		made.FileSystem = p.FileSystem(draft.Part{Mount: f[1], FS: strings.TrimSuffix(fs, "-"), Label: label})
	}
	d := s.find(p, s.disk)
	at := len(d.Partitions)
	if p.Add(d, made); len(d.Partitions) == at {
		return
	}
	s.parts[s.disk+"."+strconv.Itoa(s.number(f[0], d.Table))] = part{p.Draft, s.index[s.disk], at}
}

// number returns the number that the partition gets: of logical ones from 5 on.
func (s *storage) number(kind string, t ore.Table) int {
	key, first := s.disk, 1
	if kind == "logical" && t == ore.MBR {
		key, first = s.disk+" logical", 5
	}
	if s.next[key] == 0 {
		s.next[key] = first
	}
	s.next[key]++
	return s.next[key] - 1
}

// system returns the file system's name, also of an old line.
func system(f []string) string {
	if i := slices.IndexFunc(f, func(w string) bool { return strings.Contains(w, ";") }); i >= 0 {
		if f[1] == "swap" {
			return "swap"
		}
		for _, w := range append([]string{f[i][strings.Index(f[i], ";")+1:]}, f[i+1:]...) {
			if slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "reiserfs", "reiser", "vfat"}, w) {
				return w
			}
		}
		return "ext2"
	}
	if f[1] == "swap" {
		return "swap"
	}
	if len(f) > 3 {
		return f[3]
	}
	return ""
}

var units = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([kKMGTP%]?)(?:i?B)?$`)

// bytes reads a size of setup-storage(8), MiB unless it has a unit.
func bytes(s string) (n int64, percent int, ok bool) {
	m := units.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	x, err := strconv.ParseFloat(m[1], 64)
	if err != nil || x > 1e12 {
		return 0, 0, false
	}
	shift := map[string]int{"k": 10, "K": 10, "": 20, "M": 20, "G": 30, "T": 40, "P": 50}
	if m[2] == "%" {
		return 0, int(x), true
	}
	x *= float64(int64(1) << shift[m[2]])
	if x > 1<<60 {
		return 1 << 60, 0, true
	}
	return int64(x), 0, true
}

// size reads SIZE, LEAST- and LEAST-LARGEST.
func size(p *draft.Place, s string) ore.Share {
	s, _, _ = strings.Cut(s, ":") // :resize and the like
	least, largest, span := strings.Cut(s, "-")
	if span && largest == "" {
		return ore.Share{Rest: true}
	}
	if span {
		p.Leave("size "+s, "a part has one size: the larger one is given")
		least = largest
	}
	n, percent, ok := bytes(least)
	switch {
	case !ok:
		p.Leave("size "+s, "this is no size that is known before there is a machine: 1G is given")
		return ore.Share{Bytes: 1 << 30}
	case percent > 0:
		return ore.Share{Percent: min(percent, 100)}
	case n >= 1e6<<20: // "as large as you like", as many wrote it
		return ore.Share{Rest: true}
	}
	return draft.Bytes(n)
}

// member finds a partition by FAI's names: disk1.2, sda2.
func (s *storage) member(name string) (part, bool) {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "/dev/"), ":") // :spare, :missing
	if p, ok := s.parts[name]; ok {
		return p, true
	}
	disk := strings.TrimRight(name, "0123456789")
	p, ok := s.parts[strings.TrimSuffix(disk, "p")+"."+strings.TrimPrefix(name, disk)]
	if !ok {
		p, ok = s.parts[disk+"."+strings.TrimPrefix(name, disk)]
	}
	return p, ok
}

// lvm reads: vg NAME members, and GROUP-VOLUME mount size file-system.
func (s *storage) lvm(p *draft.Place, f []string) {
	if f[0] == "vg" && len(f) > 2 {
		group := draft.Name(f[1])
		members := strings.Split(f[2], ",")
		s.later = append(s.later, func() {
			for _, name := range members {
				if m, ok := s.member(name); ok {
					q := m.get()
					q.FileSystem, q.Group = ore.FileSystem{}, group
				} else if i := slices.IndexFunc(p.Storage.Arrays, func(a ore.RAID) bool { return a.Name == draft.Name(name) }); i >= 0 {
					p.Storage.Arrays[i].FileSystem, p.Storage.Arrays[i].Group = ore.FileSystem{}, group
				} else {
					p.Leave("vg "+name, "no partition is known by this name")
				}
			}
		})
		return
	}
	group, name, ok := strings.Cut(f[0], "-")
	if !ok || len(f) < 4 {
		p.Leave(strings.Join(f, " "), "a volume is: group-name, mount point, size, file system")
		return
	}
	v := ore.Volume{Group: draft.Name(group), Name: draft.Name(name), Size: size(p, f[2])}
	v.FileSystem = p.FileSystem(draft.Part{Mount: f[1], FS: system(f)})
	p.Storage.Volumes = append(p.Storage.Volumes, v)
}

// raid reads: raid1 mount members file-system.
func (s *storage) raid(p *draft.Place, f []string) {
	level, err := strconv.Atoi(strings.TrimPrefix(f[0], "raid"))
	if err != nil || len(f) < 4 || !slices.Contains([]int{0, 1, 5, 6, 10}, level) {
		p.Leave(strings.Join(f, " "), "an array is: raid0, 1, 5, 6 or 10, mount point, members, file system")
		return
	}
	a := ore.RAID{Name: "md" + strconv.Itoa(len(p.Storage.Arrays)), Level: level}
	if f[1] != "-" {
		a.FileSystem = p.FileSystem(draft.Part{Mount: f[1], FS: system(f)})
	}
	p.Storage.Arrays = append(p.Storage.Arrays, a)
	members := strings.Split(f[2], ",")
	s.later = append(s.later, func() {
		for _, name := range members {
			if m, ok := s.member(name); ok {
				q := m.get()
				q.FileSystem, q.Array = ore.FileSystem{}, a.Name
			} else {
				p.Leave("array "+name, "no partition is known by this name")
			}
		}
	})
}

// finish gives partitions to what takes them.
func (s *storage) finish() {
	for _, do := range s.later {
		do()
	}
}
