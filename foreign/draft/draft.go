// Package draft is what the descriptions of other installers become: a job file
// in the making, and a list of what could not be carried over.
package draft

import (
	"fmt"
	"slices"
	"strings"

	"ore"
)

// Draft is a job file in the making.
type Draft struct {
	Suite    string // "" leaves it to the reader's host
	Count    int    // of machines; 0 when nothing was said
	Packages []string
	Kernel   string
	Files    []ore.File
	Steps    []ore.Step
	OnDisk   bool // the description installs onto disks
	Storage  ore.Storage
	Users    []ore.User // accounts of the machines, and what they have that is no image's to know
	TimeZone string     // of the machines; "" leaves it to the image
	Left     []Left

	accounts []account // of the image, unless machines can have them
	zone     string    // likewise
	kept     []string  // paths of disks that hold what is to be kept, "" for any disk
}

// Left is a line that could not be carried over.
type Left struct {
	File string
	Line int
	What string // the line's word
	Why  string
}

// String returns file:line: what: why.
func (l Left) String() string { return fmt.Sprintf("%s:%d: %s: %s", l.File, l.Line, l.What, l.Why) }

// whatAtMost keeps a line of the list readable.
const whatAtMost = 60

// At returns a place in a file, from which things are put into the draft.
func (d *Draft) At(file string, line int) *Place { return &Place{d, file, line} }

// Place is a line of a file.
type Place struct {
	*Draft
	File string
	Line int
}

// Leave notes that something could not be carried over.
func (p *Place) Leave(what, format string, args ...any) {
	what = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, what)), " ")
	if len(what) > whatAtMost {
		what = strings.ToValidUTF8(what[:whatAtMost], "") + "..."
	}
	p.Draft.Left = append(p.Draft.Left, Left{p.File, p.Line, what, fmt.Sprintf(format, args...)})
}

// Package adds packages, each once. Names that Debian cannot have are left.
func (p *Place) Package(names ...string) {
	for _, n := range names {
		switch {
		case !debian(n):
			p.Leave(n, "this is no name of a Debian package")
		case !slices.Contains(p.Packages, n):
			p.Packages = append(p.Packages, n)
		}
	}
}

// debian says whether s can be a package's name (Debian Policy 5.6.7), or one
// with a version, as apt-get(8) takes it.
func debian(s string) bool {
	name, version, _ := strings.Cut(s, "=")
	if len(name) < 2 || strings.HasSuffix(s, "=") || strings.ContainsAny(version, " \t\n/=") || !printable(version) {
		return false
	}
	for i, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') && (i == 0 || !strings.ContainsRune("+-.", rune(c))) {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == 0xfffd || r == 0xfeff })
}

// Step adds a step that follows all before it, as installers' scripts do.
func (p *Place) Step(name, run string, network bool) {
	if strings.TrimSpace(run) == "" {
		return
	}
	if !printable(run) {
		p.Leave(name, "it holds characters that a job file cannot")
		return
	}
	s := ore.Step{Name: p.unused(name), Run: strings.TrimRight(run, "\n") + "\n", Network: network}
	if n := len(p.Steps); n > 0 {
		s.Needs = []string{p.Steps[n-1].Name}
	}
	p.Steps = append(p.Steps, s)
}

// unused returns a step's name that no other has, of characters that one may have.
func (p *Place) unused(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
	name = strings.TrimLeft(name, "._-")
	name = name[:min(len(name), 40)]
	if name == "" {
		name = "step"
	}
	taken := func(n string) bool {
		return slices.ContainsFunc(p.Steps, func(s ore.Step) bool { return s.Name == n })
	}
	for i, first := 2, name; taken(name); i++ {
		name = fmt.Sprintf("%s-%d", first, i)
	}
	return name
}

// Write adds a file.
func (p *Place) Write(path, content string, mode uint32) {
	if !printable(content) {
		p.Leave(path, "it holds characters that a job file cannot")
		return
	}
	f := ore.File{Path: path, Content: []byte(content), Mode: mode}
	for i := range p.Files {
		if p.Files[i].Path == path {
			p.Files[i] = f
			return
		}
	}
	p.Files = append(p.Files, f)
}

// Script adds a script: in sh as the step itself, in another language as a file
// that the step runs.
func (p *Place) Script(name, interpreter, text string) {
	p.distant(name, text)
	if interpreter == "" || interpreter == "/bin/sh" {
		// An installer goes on after a command that fails, where a step would end.
		p.Step(name, "set +e\n"+text, true)
		return
	}
	if !plainPath(interpreter) {
		p.Leave(name, "%q is no interpreter's path", interpreter)
		return
	}
	path := "/usr/local/lib/ore/" + p.unused(name)
	p.Write(path, "#!"+interpreter+"\n"+text, 0o755)
	p.Step(name, path+" || true", true)
	if interpreter != "/bin/bash" {
		p.Leave(name, "it is a script for %s: add the package that has it, if none does", interpreter)
	}
}

func plainPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._+-", r))
	})
}

// distant notes commands in a script that Debian has not, or not in a step.
func (p *Place) distant(name, text string) {
	for i, line := range strings.Split(text, "\n") {
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t;|&()`$", r) }) {
			if strings.HasPrefix(word, "#") {
				break
			}
			if why := strange(word); why != "" {
				(&Place{p.Draft, p.File, p.Line + i + 1}).Leave(word, "%s; it is carried over in step %s as it stands: change it there", why, name)
				break
			}
		}
	}
}

func strange(command string) string {
	switch command {
	case "yum", "dnf", "rpm", "zypper", "subscription-manager":
		return "Debian's packages are installed otherwise"
	case "chkconfig", "authconfig", "authselect", "setsebool", "restorecon", "firewall-cmd", "grubby", "dracut", "alternatives":
		return "Debian has no such program"
	case "ftar", "ainsl":
		return "this is FAI's own, which a machine of ours has not"
	case "db_get", "db_set":
		return "it asks debconf, which has no answers here"
	case "reboot", "shutdown", "poweroff":
		return "a step runs before there is a machine"
	}
	return ""
}

// Quote returns s as one word of the shell.
func Quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._+-=,:@%", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
