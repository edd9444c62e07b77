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
	kept  map[string]bool // disks of which something is to be kept, by the names that FAI gives them
	later []func()        // members that are taken once all partitions are known
	kind  string          // "disk", "lvm", "raid" or "" for a kind that is left
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
		s.index, s.next, s.parts, s.kept = map[string]int{}, map[string]int{}, map[string]part{}, map[string]bool{}
	}
	for i, line := range strings.Split(string(from.Data), "\n") {
		p := d.At(from.Name, i+1)
		f := draft.Words(strings.TrimSpace(line))
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
		default:
			p.Leave(strings.Join(f, " "), "it belongs to no disk_config that is carried over")
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
		for _, o := range f[1:] {
			if strings.HasPrefix(o, "preserve") || strings.HasPrefix(o, "resize") {
				p.Keep("", o)
			} else if o != "fstabkey:uuid" {
				p.Leave(o, "there is nothing like it in a job file")
			}
		}
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
	d.Wipe = !s.kept[f[0]] // what is not preserved, FAI destroys
	for _, o := range f[1:] {
		switch name, value, _ := strings.Cut(o, ":"); {
		case name == "disklabel" && (value == "msdos" || value == "mbr"):
			d.Table = ore.MBR
		case name == "disklabel" && (value == "gpt" || value == "gpt-bios"), o == "fstabkey:uuid", o == "align-at:1M":
		case name == "bootable":
			s.starts(p, o, s.disk+"."+value)
		case strings.HasPrefix(name, "preserve") || strings.HasPrefix(name, "resize") || o == "virtual":
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
	s.kept[s.disk] = true
	p.Leave(what, draft.NotKept)
}

// keeps says whether a size has the option that keeps what is there.
func keeps(size string) bool {
	return strings.Contains(size, "preserve") || strings.Contains(size, "resize")
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
	fs, more := system(f)
	if keeps(f[2]) || f[0] == "raw-disk" {
		s.preserve(p, strings.Join(f, " "))
		return
	}
	made := ore.Partition{Size: size(p, f[2])}
	label := more.read(p, f[1])
	if f[1] != "-" || fs != "-" && fs != "" {
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

// starts notes a disk's partition to start from, unless it is the one that is.
func (s *storage) starts(p *draft.Place, what, name string) {
	s.later = append(s.later, func() {
		m, ok := s.member(name)
		boot := slices.ContainsFunc(p.Storage.Disks, func(d ore.Disk) bool {
			return slices.ContainsFunc(d.Partitions, func(q ore.Partition) bool { return q.Mount == "/boot" })
		})
		if !ok || m.get().Mount != map[bool]string{true: "/boot", false: "/"}[boot] {
			p.Leave(what, "a machine starts from what is mounted on /boot, or else on /")
		}
	})
}

// options are what a line says of a file system after its name.
type options struct {
	mount, make []string
}

// read returns the label, and notes all that file systems are not given here.
func (o options) read(p *draft.Place, mount string) (label string) {
	for _, m := range o.mount {
		switch {
		case m == "" || m == "-" || m == "rw" || m == "sw" || m == "defaults" || m == "relatime":
		case m == "errors=remount-ro" && mount == "/": // as ext4 is mounted there
		default:
			p.Leave("mount option "+m, "file systems are mounted with their defaults")
		}
	}
	for _, m := range o.make {
		name, value, _ := strings.Cut(m, "=")
		f := strings.Fields(value)
		if at := slices.Index(f, "-L"); name == "createopts" && at >= 0 && at+1 < len(f) {
			label = strings.Trim(f[at+1], `"`)
			f = slices.Delete(f, at, at+2)
		}
		if len(f) > 0 || value == "" {
			p.Leave(strings.TrimSuffix(name+"="+strings.Join(f, " "), "="), "there is nothing like it in a job file: file systems, arrays and groups are made with their defaults")
		}
	}
	return label
}

// system returns the file system's name and what is said of it, also of an old
// line.
func system(f []string) (fs string, o options) {
	if i := slices.IndexFunc(f, func(w string) bool { return strings.Contains(w, ";") }); i >= 0 {
		before, after, _ := strings.Cut(f[i], ";")
		fs = "ext2"
		var others []string
		for _, w := range append([]string{after}, f[i+1:]...) {
			switch {
			case slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "reiserfs", "reiser", "vfat"}, w):
				fs = w
			case w != "" && w != "-j": // as ext3 and ext4 have
				others = append(others, w)
			}
		}
		if len(others) > 0 {
			o.make = []string{strings.Join(others, " ")}
		}
		for _, w := range append(slices.Clone(f[min(3, i):i]), before) {
			o.mount = append(o.mount, strings.Split(w, ",")...)
		}
		if f[1] == "swap" {
			fs = "swap"
		}
		return fs, o
	}
	if len(f) > 3 {
		fs = f[3]
	}
	if len(f) > 4 {
		o = options{strings.Split(f[4], ","), f[5:]}
	}
	if f[1] == "swap" {
		fs = "swap"
	}
	return fs, o
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
	s, more, _ := strings.Cut(s, ":") // preserve and resize are read before
	if more != "" {
		p.Leave(s+":"+more, "there is nothing like it in a job file")
	}
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
		options{make: f[3:]}.read(p, "")
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
	if keeps(f[2]) {
		p.Keep("", strings.Join(f, " "))
		return
	}
	v := ore.Volume{Group: draft.Name(group), Name: draft.Name(name), Size: size(p, f[2])}
	fs, more := system(f)
	v.FileSystem = p.FileSystem(draft.Part{Mount: f[1], FS: fs, Label: more.read(p, f[1])})
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
	fs, more := system(f)
	if label := more.read(p, f[1]); f[1] != "-" {
		a.FileSystem = p.FileSystem(draft.Part{Mount: f[1], FS: fs, Label: label})
	}
	p.Storage.Arrays = append(p.Storage.Arrays, a)
	members := strings.Split(f[2], ",")
	s.later = append(s.later, func() {
		for _, name := range members {
			if m, ok := s.member(name); ok {
				q := m.get()
				q.FileSystem, q.Array = ore.FileSystem{}, a.Name
				if _, role, _ := strings.Cut(name, ":"); role != "" {
					p.Leave("array "+name, "all members are used: it is one as the others are")
				}
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
	s.later = nil
}
