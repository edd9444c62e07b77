// Package fai reads what the Fully Automatic Installation has in its
// configuration space (fai-guide, chapter "the configuration space"): disk_config
// (setup-storage(8)), package_config (install_packages(8)), class/*.var, debconf,
// scripts and files, of the classes that are named. Of a file alone only its
// name and content say which of these it is.
//
// Which classes a machine has is found out by programs that run on it; here they
// have to be named.
package fai

import (
	"path"
	"slices"
	"strings"

	"ore/foreign/draft"
	"ore/foreign/preseed"
)

// Source is a file that is read: its name is the path in the configuration space.
type Source struct {
	Name string
	Data []byte
}

type reader struct {
	*draft.Draft
	classes []string
	disks   storage
}

// Read puts what the files of a configuration space say into d. They are read
// in FAI's own order, whatever order they come in.
func Read(d *draft.Draft, from []Source, classes []string) {
	r := &reader{Draft: d, classes: classes}
	if len(from) == 1 {
		r.one(from[0])
		r.disks.finish()
		return
	}
	some := false
	for _, part := range []func(Source) bool{r.variables, r.storageOf, r.packagesOf, r.debconf, r.file, r.script} {
		for _, s := range from {
			some = part(s) || some
		}
	}
	if !some {
		d.At("class", 1).Leave(strings.Join(classes, ","), "no file is for these classes: name those of the machine with --class")
	}
	r.disks.finish()
	for _, s := range from {
		r.rest(s)
	}
}

// rest notes a file that none of the parts read, unless it is one of theirs for
// other classes.
func (r *reader) rest(s Source) {
	dir, name, _ := strings.Cut(s.Name, "/")
	p := r.At(s.Name, 1)
	switch base := path.Base(name); dir {
	case "hooks":
		p.Leave(name, "it runs in the installer")
	case "class":
		if !strings.HasSuffix(name, ".var") {
			p.Leave(name, "it runs in the installer: name the classes that it would give with --class")
		}
	case "package_config":
		if strings.HasSuffix(name, ".asc") && r.in(strings.TrimSuffix(name, ".asc")) {
			p.Leave(name, "it is the key of a repository: describe that under repositories")
		}
	case "files":
		if base == "file-modes" || base == "preinst" || base == "postinst" {
			p.Leave(name, "files have mode 0644 and belong to root: change mode under files, and owners in a step")
		}
	case "disk_config", "debconf", "scripts":
	default:
		p.Leave(s.Name, "there is nothing like it in a job file")
	}
}

// in says whether a class is among those named.
func (r *reader) in(class string) bool { return slices.Contains(r.classes, class) }

// one reads a file of which only name and content are known.
func (r *reader) one(s Source) {
	text := "\n" + string(s.Data)
	switch {
	case strings.Contains(text, "\ndisk_config"):
		r.disks.read(r.Draft, s)
	case strings.Contains(text, "\nPACKAGES"):
		r.packages(s)
	case strings.HasPrefix(text, "\n#!"):
		r.runs(s)
	default:
		r.assignments(s)
	}
}

// of says whether a file in folder dir is for one of the classes.
func (r *reader) of(s Source, dir string) bool {
	in, name, _ := strings.Cut(s.Name, "/")
	name, _, _ = strings.Cut(name, "/")
	return in == dir && r.in(strings.TrimSuffix(name, ".var"))
}

func (r *reader) storageOf(s Source) bool {
	ok := r.of(s, "disk_config")
	if ok {
		r.disks.read(r.Draft, s)
	}
	return ok
}

func (r *reader) packagesOf(s Source) bool {
	ok := r.of(s, "package_config") && !strings.HasSuffix(s.Name, ".asc")
	if ok {
		r.packages(s)
	}
	return ok
}

func (r *reader) debconf(s Source) bool {
	ok := r.of(s, "debconf")
	if ok {
		preseed.Read(r.Draft, preseed.Source(s))
	}
	return ok
}

func (r *reader) variables(s Source) bool {
	ok := r.of(s, "class") && strings.HasSuffix(s.Name, ".var")
	if ok {
		r.assignments(s)
	}
	return ok
}

// file carries over what fcopy(8) would copy: files/PATH/CLASS.
func (r *reader) file(s Source) bool {
	in, rest, _ := strings.Cut(s.Name, "/")
	dir, class := path.Split(rest)
	if in != "files" || !r.in(class) || dir == "" {
		return false
	}
	to := path.Clean("/" + dir)
	if to == "/" || strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' }) {
		r.At(s.Name, 1).Leave(s.Name, "no file of a machine can be called so")
		return true
	}
	r.At(s.Name, 1).Write(to, string(s.Data), 0)
	return true
}

func (r *reader) script(s Source) bool {
	ok := r.of(s, "scripts")
	if ok {
		r.runs(s)
	}
	return ok
}

// runs carries a script over, in which what FAI gives it means this machine.
func (r *reader) runs(s Source) {
	p := r.At(s.Name, 1)
	text := string(s.Data)
	interpreter := "/bin/sh"
	if first, rest, ok := strings.Cut(text, "\n"); ok && strings.HasPrefix(first, "#!") {
		text = rest
		if f := strings.Fields(first[2:]); len(f) > 0 {
			interpreter = f[0]
		}
	}
	switch path.Base(interpreter) {
	case "sh", "bash":
		var classes []string
		for _, c := range r.classes {
			classes = append(classes, draft.Quote(c))
		}
		text = "target=\nROOTCMD=\nfcopy() { :; }\nifclass() { for c in " + strings.Join(classes, " ") + "; do [ \"$c\" = \"$1\" ] && return 0; done; return 1; }\n" + text
	case "cfagent", "cfengine", "cf-agent":
		p.Leave(s.Name, "it is a script for cfengine, whose words of then today's does not understand")
		return
	}
	p.Script(path.Base(path.Dir("/"+s.Name))+"-"+path.Base(s.Name), interpreter, text)
}

// assignments reads the variables of a class.
func (r *reader) assignments(s Source) {
	user := "fai"
	var password func()
	for i, line := range strings.Split(string(s.Data), "\n") {
		p := r.At(s.Name, i+1)
		words := draft.Words(strings.TrimSpace(line))
		if len(words) == 0 {
			continue
		}
		name, value, ok := strings.Cut(words[0], "=")
		if !ok || len(words) > 1 {
			p.Leave(line, "only plain NAME=value is read")
			continue
		}
		switch name {
		case "ROOTPW":
			p.Password("root", value, true)
		case "TIMEZONE":
			p.Zone(value)
		case "username":
			user = value
			p.Account(draft.User{Name: value})
		case "USERPW":
			password = func() { p.Password(user, value, true) }
		case "UTC":
			p.Leave(words[0], "a machine's clock is its host's")
		case "LOGUSER", "FAI_ALLOW_UNSIGNED", "STOP_ON_ERROR", "MAXPACKAGES", "FAI_DEBUG":
			p.Leave(words[0], "it belongs to the installer itself")
		case "KEYMAP", "CONSOLEFONT":
			p.Leave(words[0], "a job's machine has no keyboard or screen")
		case "MODULESLIST":
			p.Leave("MODULESLIST="+value, "name modules in /etc/modules, with files")
		default:
			p.Leave(name, "only FAI's scripts know what it means: those that use it have to be changed")
		}
	}
	if password != nil {
		password()
	}
}

// packages reads a list of packages as install_packages(8) takes it: lines
// that begin with PACKAGES say what is done with those that follow.
func (r *reader) packages(s Source) {
	action, wanted := "", true
	for i, line := range strings.Split(string(s.Data), "\n") {
		p := r.At(s.Name, i+1)
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if f[0] == "PACKAGES" {
			action, wanted = "", true
			if len(f) > 1 {
				action = f[1]
			}
			if classes := f[min(2, len(f)):]; len(classes) > 0 {
				wanted = slices.ContainsFunc(classes, r.in)
				if !wanted && len(r.classes) == 0 {
					p.Leave(strings.Join(f[1:], " "), "it is for machines of these classes: name them with --class")
				}
			}
			continue
		}
		if wanted {
			listed(p, action, f)
		}
	}
}

// listed adds the packages of a line.
func listed(p *draft.Place, action string, names []string) {
	switch action {
	case "install", "install-norec", "aptitude", "aptitude-r", "unpack", "dselect-upgrade", "":
	case "taskinst":
		for _, n := range names {
			p.Package("task-" + n)
		}
		return
	case "remove", "hold", "clean", "clean-internal", "taskrm", "cupt", "cupt-r":
		p.Leave(action+" "+strings.Join(names, " "), "only what is asked for is installed, and what that needs")
		return
	default:
		p.Leave(action+" "+strings.Join(names, " "), "these packages are not Debian's")
		return
	}
	if action == "dselect-upgrade" {
		if len(names) == 2 && names[1] != "install" {
			p.Leave(strings.Join(names, " "), "only what is asked for is installed, and what that needs")
			return
		}
		names = names[:1]
	}
	for _, n := range names {
		switch {
		case strings.HasSuffix(n, "-") || strings.HasPrefix(n, "-"):
			p.Leave(n, "only what is asked for is installed, and what that needs")
		case strings.ContainsAny(n, "/~"):
			p.Leave(n, "a job takes all packages from one suite: write name or name=version")
		default:
			n, _, _ = strings.Cut(n, ":")
			p.Package(n)
		}
	}
}

// Old reads a disk_config or a PACKAGES list alone, as Lucie took them over from
// the FAI of its time.
func Old(d *draft.Draft, name string, data []byte) { Read(d, []Source{{name, data}}, nil) }
