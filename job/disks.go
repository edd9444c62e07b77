package job

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"ore"
)

// Limits of a description of disks, each with its reason.
const (
	// maxDisks is what fits into a machine: QEMU has room for 24.
	maxDisks = 24
	// maxPartitions is what Linux numbers on a disk without further minors.
	maxPartitions = 120
	// minPart is the grain at which partitions begin and end.
	minPart = 1 << 20
)

// longestLabel returns how many bytes of a label a file system takes: mke2fs(8),
// mkfs.xfs(8), mkfs.btrfs(8), mkfs.fat(8), mkswap(8).
func longestLabel(fs string) int {
	switch fs {
	case "ext4":
		return 16
	case "xfs":
		return 12
	case "vfat":
		return 11
	case "swap":
		return 15
	}
	return 255
}

var (
	fullUUID  = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	shortUUID = regexp.MustCompile(`^[0-9A-F]{4}-[0-9A-F]{4}$`)
	// blockName holds for arrays, groups and volumes: what both md and LVM take
	// (lvm(8), "VALID NAMES"), without hyphens, which device-mapper doubles.
	blockName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.]{0,30}$`)
)

func (r *reader) root(n *yaml.Node) ore.Root {
	s, _ := r.word("machines.root", n, string(ore.OnDisk), string(ore.Mounted))
	return ore.Root(s)
}

func (r *reader) disks(n *yaml.Node) []ore.Disk {
	var all []ore.Disk
	r.list("machines.disks", n, func(v *yaml.Node) {
		if len(all) == maxDisks {
			r.fault(v, "machines.disks has more than %d items", maxDisks)
		}
		all = append(all, r.disk(v))
	})
	return all
}

func (r *reader) disk(n *yaml.Node) ore.Disk {
	d := ore.Disk{Table: ore.GPT}
	r.mapping("a disk", n, map[string]field{
		"match": func(_, v *yaml.Node) { d.Match = r.match(v) },
		"table": func(_, v *yaml.Node) {
			s, _ := r.word("table", v, string(ore.GPT), string(ore.MBR))
			d.Table = ore.Table(s)
		},
		"wipe": func(_, v *yaml.Node) { d.Wipe = r.boolean("wipe", v) },
		"partitions": func(_, v *yaml.Node) {
			r.list("partitions", v, func(v *yaml.Node) {
				if len(d.Partitions) == maxPartitions {
					r.fault(v, "partitions has more than %d items", maxPartitions)
				}
				d.Partitions = append(d.Partitions, r.partition(v))
			})
		},
	})
	if len(d.Partitions) == 0 {
		r.fault(n, "a disk needs partitions: leave the disk out where nothing is to be done with it")
	}
	return d
}

func (r *reader) match(n *yaml.Node) ore.Match {
	var m ore.Match
	r.mapping("match", n, map[string]field{
		"size":   func(_, v *yaml.Node) { m.Least, m.Most = r.bounds(v) },
		"model":  func(_, v *yaml.Node) { m.Model = r.pattern("model", v) },
		"serial": func(_, v *yaml.Node) { m.Serial = r.pattern("serial", v) },
		"path": func(_, v *yaml.Node) {
			m.Path = r.pattern("path", v)
			if m.Path != "" && (!strings.HasPrefix(m.Path, "/dev/") || filepath.Clean(m.Path) != m.Path) {
				r.fault(v, "path is %q: allowed is a device such as /dev/sda, a link such as /dev/disk/by-id/..., or a pattern of them", m.Path)
			}
		},
	})
	return m
}

// bounds reads what a disk's size has to be.
func (r *reader) bounds(n *yaml.Node) (least, most int64) {
	s, ok := r.str("size", n)
	if !ok {
		return 0, 0
	}
	var err, err2 error
	if from, to, between := strings.Cut(s, ".."); between {
		least, err = ParseSize(from)
		most, err2 = ParseSize(to)
	} else if t, ok := strings.CutPrefix(s, ">="); ok {
		least, err = ParseSize(t)
	} else if t, ok := strings.CutPrefix(s, "<="); ok {
		most, err = ParseSize(t)
	} else {
		least, err = ParseSize(s)
		most = least
	}
	if errors.Join(err, err2) != nil || least == 0 && most == 0 || most > 0 && most < least {
		r.fault(n, `size is %q: allowed is a size such as 20G, ">=20G", "<=1T" or "20G..1T"`, s)
		return 0, 0
	}
	return least, most
}

func (r *reader) pattern(what string, n *yaml.Node) string {
	s, ok := r.str(what, n)
	if !ok {
		return ""
	}
	if _, err := path.Match(s, ""); err != nil || s == "" {
		r.fault(n, "%s is %q: allowed is a text, with * and ? for what may differ", what, s)
	}
	return s
}

func (r *reader) partition(n *yaml.Node) ore.Partition {
	var p ore.Partition
	fields := r.fileSystem(&p.FileSystem)
	fields["size"] = func(_, v *yaml.Node) { p.Size = r.share(v) }
	fields["array"] = func(_, v *yaml.Node) { p.Array = r.blockName("array", v) }
	fields["group"] = func(_, v *yaml.Node) { p.Group = r.blockName("group", v) }
	before := len(r.faults)
	r.mapping("a partition", n, fields)
	if len(r.faults) > before {
		return p
	}
	if p.Size == (ore.Share{}) {
		r.fault(n, "a partition needs size: 512M, 20%% or rest")
	}
	r.use(n, "a partition", &p.FileSystem, p.Array, p.Group)
	return p
}

func (r *reader) arrays(n *yaml.Node) []ore.RAID {
	var all []ore.RAID
	r.list("machines.arrays", n, func(v *yaml.Node) {
		var a ore.RAID
		a.Level = -1
		fields := r.fileSystem(&a.FileSystem)
		fields["name"] = func(_, v *yaml.Node) { a.Name = r.blockName("name", v) }
		fields["level"] = func(_, v *yaml.Node) {
			if s, ok := r.word("level", v, "0", "1", "5", "6", "10"); ok {
				a.Level, _ = strconv.Atoi(s)
			}
		}
		fields["group"] = func(_, v *yaml.Node) { a.Group = r.blockName("group", v) }
		before := len(r.faults)
		r.mapping("an array", v, fields)
		if len(r.faults) == before {
			if a.Name == "" || a.Level < 0 {
				r.fault(v, "an array needs name and level")
			}
			r.use(v, "an array", &a.FileSystem, a.Group)
		}
		all = append(all, a)
	})
	return all
}

func (r *reader) volumes(n *yaml.Node) []ore.Volume {
	var all []ore.Volume
	r.list("machines.volumes", n, func(v *yaml.Node) {
		var l ore.Volume
		fields := r.fileSystem(&l.FileSystem)
		fields["group"] = func(_, v *yaml.Node) { l.Group = r.blockName("group", v) }
		fields["name"] = func(_, v *yaml.Node) { l.Name = r.blockName("name", v) }
		fields["size"] = func(_, v *yaml.Node) { l.Size = r.share(v) }
		before := len(r.faults)
		r.mapping("a volume", v, fields)
		if len(r.faults) == before {
			if l.Name == "" || l.Group == "" || l.Size == (ore.Share{}) {
				r.fault(v, "a volume needs group, name and size")
			}
			r.use(v, "a volume", &l.FileSystem)
		}
		all = append(all, l)
	})
	return all
}

// fileSystem returns the keys that partitions, arrays and volumes share.
func (r *reader) fileSystem(f *ore.FileSystem) map[string]field {
	return map[string]field{
		"fs": func(_, v *yaml.Node) { f.FS, _ = r.word("fs", v, "ext4", "xfs", "btrfs", "vfat", "swap") },
		"mount": func(_, v *yaml.Node) {
			f.Mount, _ = r.str("mount", v)
			if f.Mount != "swap" && (!strings.HasPrefix(f.Mount, "/") || filepath.Clean(f.Mount) != f.Mount || strings.ContainsAny(f.Mount, "\x00\n")) {
				r.fault(v, "mount is %q: allowed is an absolute path without . or .., or swap", f.Mount)
			}
		},
		"label": func(_, v *yaml.Node) {
			f.Label, _ = r.str("label", v)
			if strings.HasPrefix(f.Label, "-") || strings.ContainsFunc(f.Label, func(c rune) bool { return c < ' ' || c > '~' || c == '/' }) {
				r.fault(v, "label is %q: allowed are printable characters of ASCII but /, and no - first", f.Label)
			}
		},
		"uuid": func(_, v *yaml.Node) { f.UUID, _ = r.str("uuid", v) },
	}
}

// use checks what a partition, an array or a volume is for: a file system, or a
// part of one of the things in of.
func (r *reader) use(n *yaml.Node, what string, f *ore.FileSystem, of ...string) {
	of = slices.DeleteFunc(of, func(s string) bool { return s == "" })
	if f.Mount == "swap" {
		if f.FS != "" && f.FS != "swap" {
			r.fault(n, "%s with mount: swap has fs: %s: allowed is swap", what, f.FS)
		}
		f.FS, f.Mount = "swap", ""
	}
	own := *f != (ore.FileSystem{})
	switch longest := longestLabel(f.FS); {
	case len(of) > 1, len(of) == 1 && own:
		r.fault(n, "%s is one thing: a file system (fs, mount), or a member of an array, or of a group", what)
	case own && f.FS == "":
		r.fault(n, "%s with mount, label or uuid needs fs: ext4, xfs, btrfs, vfat or swap", what)
	case own && f.FS == "swap" && f.Mount != "":
		r.fault(n, "%s with fs: swap cannot be mounted on %s: leave mount out", what, f.Mount)
	case own && len(f.Label) > longest:
		r.fault(n, "label %q has more than the %d characters that %s takes", f.Label, longest, f.FS)
	case f.UUID != "" && f.FS == "vfat" && !shortUUID.MatchString(f.UUID):
		r.fault(n, "uuid is %q: allowed for vfat are eight hexadecimal digits such as 1A2B-3C4D", f.UUID)
	case f.UUID != "" && f.FS != "vfat" && !fullUUID.MatchString(f.UUID):
		r.fault(n, "uuid is %q: allowed is one such as 0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f, in lower case", f.UUID)
	}
}

// share reads rest, a percentage or a size.
func (r *reader) share(n *yaml.Node) ore.Share {
	s, ok := r.str("size", n)
	if !ok {
		return ore.Share{}
	}
	if s == "rest" {
		return ore.Share{Rest: true}
	}
	if t, percent := strings.CutSuffix(s, "%"); percent {
		if p, err := strconv.Atoi(t); err == nil && p >= 1 && p <= 100 {
			return ore.Share{Percent: p}
		}
	} else if b, err := ParseSize(s); err == nil && b >= minPart && b <= MaxDisk {
		return ore.Share{Bytes: b}
	}
	r.fault(n, "size is %q: allowed is rest, 1%% to 100%%, or a size from %s to %s", s, FormatSize(minPart), FormatSize(MaxDisk))
	return ore.Share{}
}

func (r *reader) blockName(what string, n *yaml.Node) string {
	s, ok := r.str(what, n)
	if ok && !blockName.MatchString(s) || s == "." || s == ".." {
		r.fault(n, "%s is %q: allowed are letters, digits, _ and ., at most 31", what, s)
	}
	return s
}

// checkRoot refuses what machines with such a root cannot have, rather than to
// start others than were asked for.
func checkRoot(j ore.Job) error {
	m := j.Machines
	if err := CheckStorage(m.Storage); err != nil {
		return err
	}
	switch {
	case m.Root == ore.OnDisk && m.Disk < MinInstalled:
		return fmt.Errorf("machines: disk is %s: a system that installs itself needs %s: ask for a larger disk", FormatSize(m.Disk), FormatSize(MinInstalled))
	case m.Root == ore.OnDisk:
		return checkSystem(m.System)
	case m.Root != "" && m.Root != ore.Mounted:
		return fmt.Errorf("machines: root is %q: use %s or %s", m.Root, ore.Mounted, ore.OnDisk)
	case !m.Storage.Empty():
		return fmt.Errorf("machines: disks are described, but a mounted root has none: use root: disk, or leave disks out")
	case !reflect.ValueOf(m.System).IsZero():
		return fmt.Errorf("machines: a system is described, but a mounted root belongs to its image: use root: disk, or leave system out")
	}
	return nil
}

// CheckStorage says what about a description of disks as a whole cannot be.
func CheckStorage(s ore.Storage) error {
	if s.Empty() {
		return nil
	}
	if err := checkParts(s); err != nil {
		return err
	}
	return checkMountPoints(s)
}

// fewestMembers returns how many members an array of a level needs (md(4)).
func fewestMembers(level int) int {
	switch level {
	case 5:
		return 3
	case 6:
		return 4
	}
	return 2
}

// checkParts looks that arrays and groups have members, and members arrays and
// groups.
func checkParts(s ore.Storage) error {
	members, groups, volumes := map[string]int{}, map[string]bool{}, map[string]bool{}
	for i, d := range s.Disks {
		percent := 0
		for _, p := range d.Partitions {
			members[p.Array]++
			groups[p.Group] = true
			percent += p.Size.Percent
		}
		if percent > 100 {
			return fmt.Errorf("machines: partitions of disk %d take %d%% of it: use 100%% at most", i+1, percent)
		}
		if d.Table == ore.MBR && len(d.Partitions) > 4 {
			return fmt.Errorf("machines: disk %d has %d partitions, mbr holds 4: use table: gpt", i+1, len(d.Partitions))
		}
	}
	known := map[string]bool{"": true}
	for _, a := range s.Arrays {
		switch least := fewestMembers(a.Level); {
		case known[a.Name]:
			return fmt.Errorf("machines: two arrays are called %s: rename one", a.Name)
		case members[a.Name] < least:
			return fmt.Errorf("machines: array %s has %d partitions, level %d needs %d: add partitions with array: %s", a.Name, members[a.Name], a.Level, least, a.Name)
		}
		known[a.Name], groups[a.Group] = true, true
	}
	for name := range members {
		if !known[name] {
			return fmt.Errorf("machines: a partition belongs to array %s, which is not described: add it to arrays", name)
		}
	}
	filled := map[string]bool{"": true}
	for _, v := range s.Volumes {
		full := v.Group + "/" + v.Name
		switch {
		case !groups[v.Group]:
			return fmt.Errorf("machines: volume %s: no partition or array has group: %s: add one", full, v.Group)
		case volumes[full]:
			return fmt.Errorf("machines: two volumes are called %s: rename one", full)
		}
		volumes[full], filled[v.Group] = true, true
	}
	for name := range groups {
		if !filled[name] {
			return fmt.Errorf("machines: group %s has no volume: add one to volumes", name)
		}
	}
	return nil
}

// everyFileSystem calls do for each file system that s describes.
func everyFileSystem(s ore.Storage, do func(ore.FileSystem)) {
	for _, d := range s.Disks {
		for _, p := range d.Partitions {
			do(p.FileSystem)
		}
	}
	for _, a := range s.Arrays {
		do(a.FileSystem)
	}
	for _, v := range s.Volumes {
		do(v.FileSystem)
	}
}

// links are what Debian's folder for the root has in the place of folders of /usr
// (the package base-files), and starting what mounts all but the root and /usr, with
// its libraries: the first process, systemd, and mount(8).
var (
	links    = [...]string{"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"}
	starting = [...]string{"/usr/bin", "/usr/lib", "/usr/lib64", "/usr/lib/systemd", "/usr/lib/x86_64-linux-gnu", "/usr/sbin"}
)

// NotOnDisk says why no file system of a disk can be mounted at a path, which is
// absolute and clean, "" if one can.
func NotOnDisk(path string) string {
	for _, d := range inMemory {
		if within(path, d) {
			return "a machine has " + d + " in memory"
		}
	}
	for _, d := range links {
		if within(path, d) {
			return d + " is a link to /usr" + d
		}
	}
	switch {
	case path == "/etc":
		return "/etc/fstab, which says what is mounted, is there"
	case slices.Contains(starting[:], path):
		return "what mounts it is there, though /usr as a whole can be a file system"
	}
	return ""
}

func checkMountPoints(s ore.Storage) error {
	var err error
	seen := map[string]string{}
	everyFileSystem(s, func(f ore.FileSystem) {
		if f.Mount == "" {
			return
		}
		if why := NotOnDisk(f.Mount); why != "" {
			err = fmt.Errorf("machines: mount %s: %s: use another path", f.Mount, why)
		}
		if _, twice := seen[f.Mount]; twice {
			err = fmt.Errorf("machines: two file systems are mounted on %s: change one", f.Mount)
		}
		seen[f.Mount] = f.FS
	})
	switch {
	case err != nil:
		return err
	case seen["/"] == "":
		return fmt.Errorf("machines: disks are described, but nothing is mounted on /: add a partition or volume with mount: /")
	}
	for _, path := range []string{"/", "/usr"} {
		if seen[path] == "vfat" {
			return fmt.Errorf("machines: %s is vfat, which has neither owners nor links: use ext4, xfs or btrfs", path)
		}
	}
	return nil
}
