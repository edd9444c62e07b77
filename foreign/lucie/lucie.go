// Package lucie reads what described a cluster for the installer Lucie (2003 to
// 2009): three kinds of files, all of them Ruby programs of few words.
//
//	install( %w(ssh gcc) )          # package: also aptget_install, aptitude ...
//
//	partition 'root' do |p|         # partition
//	  p.slice = '/dev/hda'
//	  p.fs = 'ext3'
//	  p.mount_point = '/'
//	  p.size = (128..256)           # MiB
//	end
//
//	host do |host|                  # resource: also host_group, package_server,
//	  host.name = 'node00'          # dhcp_server and installer
//	end
//
// Older ones are disk_config and PACKAGES of FAI, from which Lucie took them. A
// Lucie meta package (lmp) holds such a package file beside its own description
// (spec.rb), questions (deft.rb) and scripts, of which only the file of packages
// can be carried over. Nothing is run: what is more than these words is listed.
package lucie

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/foreign/draft"
	"ore/foreign/fai"
)

// Source is a file that is read.
type Source struct {
	Name string
	Data []byte
}

// block is one "name label do |x| ... end".
type block struct {
	at          *draft.Place
	kind, label string
	variable    string
	values      map[string]string
	places      map[string]*draft.Place
	assignments []assignment
	read        map[string]bool // attributes that something was made of, or that were noted
}

// assignment is "x.name = value", or << for =.
type assignment struct {
	at          *draft.Place
	name, value string
}

type reader struct {
	*draft.Draft
	hosts int
	loose []loose // partitions of which it is not known what disk they are on
}

// loose is a partition and where it was described.
type loose struct {
	at   *draft.Place
	part ore.Partition
}

var (
	opens    = regexp.MustCompile(`^(\w+)\s*\(?\s*(?:["']([^"']*)["'])?[^|]*\bdo\s*\|\s*(\w+)\s*\|`)
	assigns  = regexp.MustCompile(`^(\w+)\.(\w+)\s*(=|<<)\s*(.+)$`)
	calls    = regexp.MustCompile(`^([a-z_]+)\s*(?:\(|\s|$)(.*)$`)
	heredoc  = regexp.MustCompile(`<<-?["']?([A-Z_]+)["']?`)
	words    = regexp.MustCompile(`%w\s*[(\[{]([^)\]}]*)[)\]}]?`)
	quoted   = regexp.MustCompile(`["']([^"']*)["']`)
	variable = regexp.MustCompile(`^[$@]*[A-Za-z_]\w*$`)
	interval = regexp.MustCompile(`^\(?\s*(\d+)\s*\.\.\.?\s*(\d+)\s*\)?$`)
)

// Read puts what a file says into d.
func Read(d *draft.Draft, from Source) {
	text := string(from.Data)
	if strings.Contains("\n"+text, "\ndisk_config") || strings.Contains("\n"+text, "\nPACKAGES") {
		fai.Old(d, from.Name, from.Data)
		return
	}
	r := &reader{Draft: d}
	r.statements(from.Name, strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n"))
	for _, l := range r.loose {
		r.onFirst(l)
	}
	if r.hosts > 0 {
		d.Count = min(d.Count+r.hosts, maxHosts)
	}
}

// maxHosts is what one job can have (job.MaxMachines).
const maxHosts = 4096

// statements reads line by line; a call goes on until its parentheses close.
func (r *reader) statements(file string, lines []string) {
	var b *block
	for i := 0; i < len(lines); i++ {
		p := r.At(file, i+1)
		line := code(lines[i])
		for open := strings.Count(line, "(") - strings.Count(line, ")"); open > 0 && i+1 < len(lines); {
			i++
			more := code(lines[i])
			line += " " + more
			open += strings.Count(more, "(") - strings.Count(more, ")")
		}
		if m := heredoc.FindStringSubmatch(line); m != nil {
			for i+1 < len(lines) && strings.TrimSpace(lines[i+1]) != m[1] {
				i++
			}
			i++
			line = heredoc.ReplaceAllString(line, `""`)
		}
		switch {
		case line == "" || strings.HasPrefix(line, "require ") || strings.HasPrefix(line, "include "):
		case b != nil && line == "end":
			r.finish(*b)
			b = nil
		case b != nil:
			r.assign(b, p, line)
		default:
			b = r.statement(p, line)
		}
	}
	if b != nil {
		b.at.Leave(b.kind+" "+b.label, "it has no end")
		if b.preserved() {
			b.at.Keep(b.values["slice"], b.kind+" "+b.label)
		}
	}
}

// code returns a line without its comment and blanks around it.
func code(line string) string {
	quote := rune(0)
	for i, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == '#':
			return strings.TrimSpace(line[:i])
		}
	}
	return strings.TrimSpace(line)
}

// statement reads what stands outside of blocks, and begins one.
func (r *reader) statement(p *draft.Place, line string) *block {
	if m := opens.FindStringSubmatch(line); m != nil {
		return &block{at: p, kind: m[1], label: m[2], variable: m[3],
			values: map[string]string{}, places: map[string]*draft.Place{}, read: map[string]bool{}}
	}
	m := calls.FindStringSubmatch(line)
	if m == nil {
		unread(p, line)
		return nil
	}
	names := literals(m[2])
	if more := strings.Trim(quoted.ReplaceAllString(words.ReplaceAllString(m[2], ""), ""), "()[], "); more != "" {
		switch m[1] {
		case "install", "aptget_install", "aptitude", "aptitude_r", "dselect_upgrade", "taskinst":
			p.Leave(more, "only names that stand there are read, and no other Ruby")
		}
	}
	switch m[1] {
	case "install", "aptget_install", "aptitude", "aptitude_r", "dselect_upgrade":
		for _, n := range names {
			if strings.HasPrefix(n, "%%%") {
				p.Leave(n, "the answer to a question of a meta package stands here: name the packages")
				continue
			}
			p.Package(n)
		}
	case "taskinst":
		for _, n := range names {
			p.Package("task-" + n)
		}
	case "remove", "aptget_remove", "hold", "taskrm":
		p.Leave(line, "only what is asked for is installed, and what that needs")
	case "aptget_clean", "clean":
	default:
		unread(p, line)
	}
	return nil
}

// unread notes a line that is not understood. One about what is preserved may be about
// any disk.
func unread(p *draft.Place, line string) {
	p.Leave(line, "only the words of Lucie's files are read, and no other Ruby")
	if strings.Contains(line, "preserve") {
		p.Keep("", line)
	}
}

// literals returns the strings of an argument: 'a', "a" or %w(a b).
func literals(s string) []string {
	var all []string
	for _, m := range words.FindAllStringSubmatch(s, -1) {
		all = append(all, strings.Fields(m[1])...)
	}
	for _, m := range quoted.FindAllStringSubmatch(words.ReplaceAllString(s, ""), -1) {
		all = append(all, m[1])
	}
	return all
}

func (r *reader) assign(b *block, p *draft.Place, line string) {
	m := assigns.FindStringSubmatch(line)
	if m == nil || m[1] != b.variable {
		unread(p, line)
		return
	}
	value := strings.TrimSpace(m[4])
	if s := literals(value); len(s) == 1 {
		value = s[0]
	} else if variable.MatchString(value) && value != "true" && value != "false" {
		p.Leave(line, "only values that stand there are read, and no other Ruby")
		if m[2] == "preserve" {
			b.values[m[2]] = value // it may be true
		}
		return
	}
	b.values[m[2]], b.places[m[2]] = value, p
	b.assignments = append(b.assignments, assignment{p, m[2], value})
}

// finish makes of a block what can be made of it.
func (r *reader) finish(b block) {
	if b.kind != "host" {
		b.get("name") // by which the others' files mean it
	}
	switch b.kind {
	case "partition":
		r.partition(b)
	case "host":
		r.hosts++
		b.leave("machines of a job have a network of their own, where they are called m0, m1 ...", "name", "alias", "address", "mac_address")
	case "host_group":
		b.leave("all machines of a job are alike: make a job file for each kind", "members")
	case "package_server":
		b.leave("the mirror is the site's: see --mirror", "uri")
	case "dhcp_server":
		b.leave("machines of a job have a network of their own, with its own addresses and names", "gateway", "address", "dns", "domain_name", "subnet")
		b.leave("there is nothing like it in a job file: set it up with files and steps", "nis_domain_name")
	case "installer":
		r.installer(b)
	case "template", "question":
		b.at.Leave(b.kind+" "+b.label, "questions of a meta package have no answers here")
		return
	default:
		b.at.Leave(b.kind+" "+b.label, "it belongs to the installer itself")
		return
	}
	for _, a := range b.assignments {
		if !b.read[a.name] {
			a.leave(b, "there is nothing like it in a job file")
		}
	}
}

// get returns an attribute, and marks it as understood.
func (b block) get(name string) string {
	b.read[name] = true
	return b.values[name]
}

// preserved says whether what the partition holds may be to be kept.
func (b block) preserved() bool {
	p := b.get("preserve")
	return p != "" && p != "false"
}

// leave notes attributes that were given.
func (b block) leave(why string, names ...string) {
	for _, a := range b.assignments {
		if slices.Contains(names, a.name) {
			b.read[a.name] = true
			a.leave(b, why)
		}
	}
}

func (a assignment) leave(b block, why string) {
	a.at.Leave(b.kind+"."+a.name+" = "+a.value, "%s", why)
}

func (r *reader) installer(b block) {
	if v := b.get("distribution_version"); v != "" {
		b.leave("Debian's suites of then are not signed by keys of today: choose one with environment.base", "distribution_version")
	}
	if secret := b.get("root_password"); secret != "" {
		b.places["root_password"].Password("root", secret, strings.HasPrefix(secret, "$"))
	}
	b.leave("it is no package of the archive: name one with environment.kernel", "kernel_package", "kernel_version")
	if b.get("distribution") != "debian" {
		b.leave("a job's packages are Debian's", "distribution")
	}
	b.leave("all machines of a job are alike: make a job file for each kind", "host_group")
	b.leave("it belongs to the installer itself", "address", "package_server", "dhcp_server")
}

// partition reads the block of that name.
func (r *reader) partition(b block) {
	if b.preserved() {
		b.at.Keep(b.values["slice"], "partition "+b.label)
		for _, a := range b.assignments {
			b.read[a.name] = true // as the whole is noted
		}
		return
	}
	disk := strings.TrimPrefix(b.get("slice"), "/dev/")
	if !plain.MatchString(disk) {
		b.at.Leave(strings.TrimSpace("slice "+disk), "only a device's name is understood: the first disk is taken")
		disk = ""
	}
	part := ore.Partition{Size: b.size()}
	part.FileSystem = b.at.FileSystem(draft.Part{Mount: b.get("mount_point"), FS: b.get("fs")})
	b.get("kind") // with gpt there is no other than primary
	if boots := b.get("bootable") == "true"; boots && part.Mount != "/" && part.Mount != "/boot" {
		b.leave("a machine starts from what is mounted on /boot, or else on /", "bootable")
	}
	b.leave("file systems are mounted with their defaults", "fstab_option", "mount_option", "format_option", "dump_enabled")
	if r.OnDisk = true; disk == "" {
		r.loose = append(r.loose, loose{b.at, part})
		return
	}
	d := b.at.Disk(disk)
	if d == nil {
		return
	}
	d.Wipe = true // Lucie divided disks anew, whatever they held
	b.at.Add(d, part)
}

// onFirst puts a partition on the first disk that is described, so that none is
// divided that nobody meant.
func (r *reader) onFirst(l loose) {
	if len(r.Storage.Disks) == 0 {
		l.at.Disk("").Wipe = true
	}
	l.at.Add(&r.Storage.Disks[0], l.part)
}

var plain = regexp.MustCompile(`^[a-z][a-z0-9/]*$`)

// size reads MiB: a number, or the least and the most.
func (b block) size() ore.Share {
	s := b.get("size")
	p := b.places["size"]
	if p == nil {
		p = b.at
	}
	if m := interval.FindStringSubmatch(s); m != nil {
		if n, err := strconv.ParseInt(m[2], 10, 40); err == nil && n < 1e6 {
			p.Leave("size = "+s, "a part has one size: the larger one is given")
			return draft.Bytes(n << 20)
		}
		return ore.Share{Rest: true}
	}
	n, err := strconv.ParseInt(s, 10, 40)
	if err != nil || n <= 0 {
		p.Leave("size = "+s, "this is no size: it is given the rest")
		return ore.Share{Rest: true}
	}
	return draft.Bytes(n << 20)
}
