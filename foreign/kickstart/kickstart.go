// Package kickstart reads the Kickstart files of Fedora's, Red Hat's and their
// kin's installer Anaconda (pykickstart's documentation of commands) for what
// they say about packages, disks, users, scripts and the network.
//
// Sizes without a unit are MiB. What a job's machines have anyway (addresses by
// DHCP, no questions asked) needs no word; all else that cannot be carried over,
// each option and word, is listed. A %post runs as a step, which an installer's
// does not stop for.
package kickstart

import (
	"strings"

	"ore/foreign/draft"
	"ore/foreign/names"
)

// Source is a file that is read.
type Source struct {
	Name string
	Data []byte
}

// reader reads one file.
type reader struct {
	*draft.Draft
	file  string
	table names.Table
	commands
	disks
}

// Read puts what a Kickstart file says into d.
func Read(d *draft.Draft, from Source, table names.Table) {
	r := &reader{Draft: d, file: from.Name, table: table}
	r.commands = r.known()
	lines := strings.Split(strings.ReplaceAll(string(from.Data), "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !strings.HasPrefix(line, "%") {
			r.command(d.At(from.Name, i+1), draft.Words(line))
			continue
		}
		p := d.At(from.Name, i+1)
		words := draft.Words(line)
		if words[0] == "%include" || words[0] == "%ksappend" {
			p.Leave(line, "other files are not read: put what it says in its place, and import again")
			continue
		}
		end := i + 1
		for end < len(lines) && !ends(strings.TrimSpace(lines[end])) {
			end++
		}
		if end == len(lines) && words[0] != "%end" {
			p.Leave(words[0], "it has no %%end: all that follows is taken for its text")
		}
		r.section(p, words, lines[min(i+1, len(lines)):end])
		if i = end; end < len(lines) && strings.TrimSpace(lines[end]) != "%end" {
			i-- // the next section ends this one, as it did in old versions
		}
	}
	r.join()
}

// ends says whether a line ends a section.
func ends(line string) bool {
	if !strings.HasPrefix(line, "%") {
		return false
	}
	word, _, _ := strings.Cut(line, " ")
	switch word {
	case "%end", "%packages", "%pre", "%post", "%pre-install", "%addon", "%onerror", "%traceback", "%anaconda":
		return true
	}
	return false
}

func (r *reader) section(p *draft.Place, words, text []string) {
	switch words[0] {
	case "%packages":
		o := draft.Option(words[1:], "nobase", "nocore", "default", "excludedocs", "excludeWeakdeps", "exclude-weakdeps", "ignoremissing", "ignorebroken", "multilib", "resolvedeps")
		o.Skip("nobase", "nocore", "excludeWeakdeps", "exclude-weakdeps", "resolvedeps") // only what is asked for is installed, and what that needs
		rest(p, "%packages", &o, 0)
		r.packages(p, text)
	case "%post":
		o := draft.Option(words[1:], "nochroot", "erroronfail")
		if o.Has("nochroot") {
			p.Leave("%post --nochroot", "it runs in the installer, outside of the system that it installs")
			return
		}
		interpreter := o.Get("interpreter")
		if interpreter == "" {
			interpreter = "/bin/sh"
		}
		if o.Has("erroronfail") {
			p.Leave("%post --erroronfail", "what fails in a step made of a script is not looked at: take set +e, or || true, out of it")
		}
		if o.Has("log") || o.Has("logfile") {
			p.Leave("%post --log", "a step's output is in the log of the build")
		}
		rest(p, "%post", &o, 0)
		p.Script("post", interpreter, strings.Join(text, "\n"))
	case "%end":
		p.Leave("%end", "no section is open")
	default:
		p.Leave(words[0], "it belongs to the installer itself")
	}
}

// packages reads the section of that name.
func (r *reader) packages(p *draft.Place, text []string) {
	for i, line := range text {
		at := p.At(p.File, p.Line+i+1)
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		name := f[0]
		switch {
		case strings.HasPrefix(name, "-"):
			at.Leave(name, "only what is asked for is installed, and what that needs")
		case strings.HasPrefix(name, "@"):
			if name == "@" { // as old files have it: @ Base System
				name, f = "@"+strings.Join(f[1:], " "), f[:1]
			}
			r.asks(at, strings.ToLower(name), "no Debian packages are known for this group")
		case strings.ContainsAny(name, "*?["):
			at.Leave(name, "a pattern of names: name the packages")
		default:
			r.asks(at, name, "no Debian package is known for it")
		}
		if len(f) > 1 {
			at.Leave(strings.Join(f[1:], " "), "there is nothing like it in a job file")
		}
	}
}

func (r *reader) asks(at *draft.Place, name, unknown string) {
	if debian, ok := r.table.Debian(name); ok {
		// Whoever has a table of their own and maps a name to nothing knows that.
		if own, said := names.RPM().Debian(name); len(debian) == 0 && said && len(own) == 0 {
			at.Leave(name, "what it is for is in Debian's base, or needs no package there")
		}
		at.Package(debian...)
		return
	}
	at.Leave(name, "%s: give its name with --map, in a line: %s DEBIAN-NAME", unknown, name)
}
