package kickstart

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/foreign/draft"
)

// disks is what has been said about disks before all of it is known.
type disks struct {
	wipe    bool     // what is on disks may be lost,
	only    []string // if any are named: on these alone
	spare   bool     // a clearpart gives up less, whatever another one does
	use     []string // the disks that alone are used, if any are named
	ignored []string // those that are not
	kind    ore.Table
	members map[string]string // of pv.01, raid.01: the group or array that takes them
	plain   []placed          // partitions that belong to nothing else
	lent    []placed          // those that do, to what is described elsewhere

	cleared, zeroed *draft.Place // the lines of clearpart --all and zerombr, nil where there is none
}

// placed is a partition and where it is to be.
type placed struct {
	at   *draft.Place
	disk string // "" where the line names none
	name string // /home, pv.01
	part ore.Partition
}

// clearpart reads what may be lost. A job file says so of a whole disk or not at
// all: a disk of which only a part is given up is left to the reader of the job file.
func (r *reader) clearpart(p *draft.Place, words []string) {
	o := draft.Option(words, "all", "none", "linux", "initlabel", "cdl")
	if o.Has("all") {
		r.wipe, r.only, r.cleared = true, append(r.only, drives(o.Get("drives"))...), p
	}
	r.spare = r.spare || o.Has("none")
	for _, n := range []string{"linux", "list"} {
		if o.Has(n) {
			r.spare = true
			p.Leave("clearpart --"+n, "a disk is taken as a whole or not at all: set wipe: true if all that it holds may be lost")
		}
	}
	switch label := o.Get("disklabel"); label {
	case "", "gpt":
	case "msdos", "mbr":
		r.kind = ore.MBR
	default:
		p.Leave("clearpart --disklabel="+label, "tables are gpt and mbr: gpt is used")
	}
	o.Skip("initlabel")
	rest(p, "clearpart", &o, 0)
}

// plainDrive is a kernel's name of a disk.
var plainDrive = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// ignoredisk reads which disks the installer does not see, of which it loses nothing.
func (r *reader) ignoredisk(p *draft.Place, words []string) {
	o := draft.Option(words, "interactive")
	r.use = append(r.use, drives(o.Get("only-use"))...)
	r.ignored = append(r.ignored, drives(o.Get("drives"))...)
	p.Leave(strings.Join(append([]string{"ignoredisk"}, words...), " "), "which disks are used is said by what lies on them: others are left alone")
}

// drives are the disks that an option names.
func drives(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' })
}

// given says whether what a disk holds may be lost, or else why not.
func (r *reader) given(d ore.Disk) (ok bool, why string) {
	named := func(all []string) bool {
		return slices.ContainsFunc(all, func(n string) bool { return "/dev/"+strings.TrimPrefix(n, "/dev/") == d.Match.Path })
	}
	switch {
	case !r.wipe:
		return false, ""
	case r.spare:
		return false, "another clearpart gives up less"
	case len(r.only) > 0 && !named(r.only):
		return false, "clearpart --drives does not name it"
	case len(r.use) > 0 && !named(r.use) || named(r.ignored) || len(r.ignored) > 0 && d.Match.Path == "":
		return false, "it may be one that ignoredisk keeps"
	}
	return true, ""
}

func (r *reader) zerombr(p *draft.Place, _ []string) { r.zeroed = p }

// autopart reads a layout of the installer's own: unless told otherwise, one of
// volumes, with /boot, swap and, where there is room, /home.
func (r *reader) autopart(p *draft.Place, words []string) {
	r.OnDisk = true
	o := draft.Option(words, "nohome", "noswap", "noboot", "nolvm", "encrypted")
	kind, fs := o.Get("type"), o.Get("fstype")
	ours := o.Has("nolvm") || kind == "plain"
	for _, without := range []string{"nohome", "noswap", "noboot"} {
		ours = o.Has(without) && ours
	}
	if !ours || fs != "" && fs != "ext4" {
		p.Leave(strings.Join(append([]string{"autopart"}, words...), " "),
			"the default layout is one file system, ext4 on a plain partition, without volumes, /boot, swap and /home: describe disks for another")
	}
	rest(p, "autopart", &o, 0)
}

// size reads what --size, --grow, --percent and --recommended say together.
func size(p *draft.Place, o *draft.Options, command string) ore.Share {
	mib, err := strconv.ParseInt(strings.TrimSuffix(o.Get("size"), "M"), 10, 40)
	grow, percent := o.Has("grow"), strings.TrimSuffix(o.Get("percent"), "%")
	if o.Has("maxsize") {
		p.Leave(command+" --maxsize", "what grows takes all that is left: give it a size to have less")
	}
	unknown := false
	for _, by := range []string{"recommended", "hibernation"} {
		if o.Has(by) {
			unknown = true
			p.Leave(command+" --"+by, "how much memory a machine will have is not known here: it has the size that is given beside it, or 1G")
		}
	}
	switch n, perr := strconv.Atoi(percent); {
	case unknown && !grow && (err != nil || mib <= 0):
		return ore.Share{Bytes: 1 << 30}
	case grow:
		if err == nil && mib > 1 { // 1 is what is written where any size will do
			p.Leave(fmt.Sprintf("%s --size=%d", command, mib), "it grows to all that is left, and a job file has no least size beside that")
		}
		return ore.Share{Rest: true}
	case perr == nil && n >= 1 && n <= 100:
		if err == nil {
			p.Leave(fmt.Sprintf("%s --size=%d", command, mib), "it has a part of the disk, and a job file has no least size beside that")
		}
		return ore.Share{Percent: n}
	case err != nil || mib <= 0:
		p.Leave(command+" --size", "it has no size: it is given the rest")
		return ore.Share{Rest: true}
	}
	return draft.Bytes(mib << 20)
}

// partFlags are options of part, logvol and raid that take no value.
var partFlags = [...]string{"grow", "asprimary", "recommended", "hibernation", "noformat", "encrypted", "resize", "thinpool", "thin", "useexisting", "percent-all"}

func (r *reader) part(p *draft.Place, words []string) {
	o := draft.Option(words, partFlags[:]...)
	if len(o.Rest) == 0 {
		p.Leave("part", "it says neither where it is mounted nor what it is for")
		return
	}
	name := o.Rest[0]
	part := ore.Partition{Size: size(p, &o, "part "+name)}
	disk := o.Get("ondisk")
	if d := o.Get("ondrive"); d != "" {
		disk = d
	}
	o.Skip("asprimary")
	fs := o.Get("fstype")
	r.OnDisk = true
	if there := o.Get("onpart") + o.Get("usepart"); there != "" || o.Has("noformat") || o.Has("resize") {
		if there == "" {
			there = disk
		}
		p.Keep(there, "part "+name)
		return
	}
	switch {
	case strings.HasPrefix(name, "pv.") || strings.HasPrefix(name, "raid.") || strings.HasPrefix(name, "btrfs."):
		r.lent = append(r.lent, placed{p, disk, name, part})
	case name == "biosboot" || name == "prepboot" || fs == "biosboot":
		// The layout adds what the firmware needs.
	default:
		part.FileSystem = p.FileSystem(draft.Part{Mount: name, FS: fs, Label: o.Get("label")})
		r.plain = append(r.plain, placed{p, disk, name, part})
	}
	rest(p, "part", &o, 1)
}

// used says whether a group, a volume or an array is one that is there already. What
// disk it is on is not said.
func used(p *draft.Place, what string, o *draft.Options) bool {
	there := false
	for _, n := range []string{"useexisting", "noformat", "resize"} {
		there = o.Has(n) || there
	}
	if there {
		p.Keep("", what)
	}
	return there
}

func (r *reader) takes(names []string, by string) {
	if r.members == nil {
		r.members = map[string]string{}
	}
	for _, n := range names {
		r.members[n] = by
	}
}

func (r *reader) volgroup(p *draft.Place, words []string) {
	o := draft.Option(words, "noformat", "useexisting")
	if len(o.Rest) == 0 {
		p.Leave("volgroup", "it has no name")
		return
	}
	used(p, "volgroup", &o)
	r.takes(o.Rest[1:], "group "+draft.Name(o.Rest[0]))
	if s := o.Get("pesize"); s != "" && s != "4096" && s != "4" {
		p.Leave("volgroup --pesize", "extents have 4 MiB")
	}
	rest(p, "volgroup", &o, len(o.Rest))
}

func (r *reader) logvol(p *draft.Place, words []string) {
	o := draft.Option(words, partFlags[:]...)
	mount := ""
	if len(o.Rest) > 0 {
		mount = o.Rest[0]
	}
	if used(p, "logvol "+mount, &o) {
		return
	}
	name, group := o.Get("name"), o.Get("vgname")
	if o.Has("thinpool") || o.Has("thin") || name == "" || group == "" {
		p.Leave("logvol "+mount, "only plain volumes with name and group are carried over")
		return
	}
	v := ore.Volume{Group: draft.Name(group), Name: draft.Name(name), Size: size(p, &o, "logvol "+mount)}
	v.FileSystem = p.FileSystem(draft.Part{Mount: mount, FS: o.Get("fstype"), Label: o.Get("label")})
	rest(p, "logvol", &o, 1)
	r.Storage.Volumes = append(r.Storage.Volumes, v)
}

func (r *reader) raid(p *draft.Place, words []string) {
	o := draft.Option(words, partFlags[:]...)
	if len(o.Rest) == 0 {
		p.Leave("raid", "it says neither where it is mounted nor what it is for")
		return
	}
	if used(p, "raid "+o.Rest[0], &o) {
		return
	}
	level, err := strconv.Atoi(strings.TrimPrefix(strings.ToLower(o.Get("level")), "raid"))
	if err != nil || !slices.Contains([]int{0, 1, 5, 6, 10}, level) {
		p.Leave("raid --level="+o.Get("level"), "levels are 0, 1, 5, 6 and 10")
		return
	}
	a := ore.RAID{Name: draft.Name(strings.TrimPrefix(o.Get("device"), "/dev/")), Level: level}
	r.takes(o.Rest[1:], "array "+a.Name)
	if s := o.Get("spares"); s != "" && s != "0" {
		p.Leave("raid --spares", "all members are used")
	}
	if name := o.Rest[0]; strings.HasPrefix(name, "pv.") {
		r.lent = append(r.lent, placed{at: p, name: name})
		a.Group = name // until it is known whose it is
	} else {
		a.FileSystem = p.FileSystem(draft.Part{Mount: name, FS: o.Get("fstype"), Label: o.Get("label")})
	}
	rest(p, "raid", &o, len(o.Rest))
	r.Storage.Arrays = append(r.Storage.Arrays, a)
}

// join gives partitions and arrays to what takes them, now that all is known.
func (r *reader) join() {
	first := r.first()
	for _, l := range r.plain {
		l.on(first)
	}
	for _, l := range r.lent {
		kind, name, ok := strings.Cut(r.members[l.name], " ")
		if !ok {
			l.at.Leave(l.name, "nothing takes it")
			continue
		}
		if i := slices.IndexFunc(r.Storage.Arrays, func(a ore.RAID) bool { return a.Group == l.name }); i >= 0 {
			r.Storage.Arrays[i].Group = name
			continue
		}
		if kind == "group" {
			l.part.Group = name
		} else {
			l.part.Array = name
		}
		l.on(first)
	}
	for i := range r.Storage.Arrays {
		if strings.HasPrefix(r.Storage.Arrays[i].Group, "pv.") {
			r.Storage.Arrays[i].Group = ""
		}
	}
	r.settle()
}

// first returns the disk that the first partition names which names one, or ""
// where none does.
func (r *reader) first() string {
	name, line := "", 0
	for _, l := range append(slices.Clone(r.plain), r.lent...) {
		if l.disk != "" && (name == "" || l.at.Line < line) {
			name, line = l.disk, l.at.Line
		}
	}
	return name
}

// on adds the partition to its disk, or to the first one that others name.
func (l placed) on(first string) {
	if l.disk == "" && first != "" {
		l.at.Leave("part "+l.name, "it names no disk, and any that has room would do: it is put on %s, the first that is named", first)
		l.disk = first
	}
	l.at.Partition(l.disk, l.part)
}

// settle gives disks what is said of all of them.
func (r *reader) settle() {
	for i := range r.Storage.Disks {
		d := &r.Storage.Disks[i]
		for _, named := range [][]string{r.only, r.use} {
			if d.Match.Path == "" && len(r.Storage.Disks) == 1 && len(named) == 1 && plainDrive.MatchString(named[0]) {
				d.Match.Path = "/dev/" + named[0] // the one that is given up is the one that is used
			}
		}
		var why string
		if d.Wipe, why = r.given(*d); why != "" {
			r.cleared.Leave("disk "+d.Match.Path, "%s: it is divided only if it is empty, or with wipe: true", why)
		}
		if r.kind != "" {
			d.Table = r.kind
		}
	}
	if r.wipe && r.OnDisk && len(r.Storage.Disks) == 0 {
		r.cleared.Leave("clearpart", "what a disk holds is lost only where it is described with wipe: true")
	}
	if r.zeroed != nil && !r.wipe {
		r.zeroed.Leave("zerombr", "a disk with a damaged table is divided only with wipe: true")
	}
}
