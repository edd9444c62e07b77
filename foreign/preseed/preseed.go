// Package preseed reads the preconfiguration files of the Debian installer (its
// manual, appendix B): lines of owner, question, type and answer, as debconf
// has them, of which a backslash at the end continues one.
//
// Answers that only spare the installer a question need no word. Those of other
// packages than the installer's own are given to debconf in a step.
package preseed

import (
	"regexp"
	"slices"
	"strings"

	"ore/foreign/draft"
)

// Source is a file that is read.
type Source struct {
	Name string
	Data []byte
}

// answer is one line.
type answer struct {
	at                           *draft.Place
	owner, question, kind, value string
}

type reader struct {
	*draft.Draft
	answers map[string]answer // of the installer's questions
	order   []answer
	used    map[string]bool // questions of which something was made, with others together
}

// Read puts what a preconfiguration file says into d.
func Read(d *draft.Draft, from Source) {
	r := &reader{Draft: d, answers: map[string]answer{}, used: map[string]bool{}}
	text := strings.ReplaceAll(string(from.Data), "\r\n", "\n")
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		first, line := i, strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		for strings.HasSuffix(line, "\\") && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, "\\") + " " + strings.TrimSpace(lines[i])
		}
		a, ok := parse(line)
		if a.at = d.At(from.Name, first+1); !ok {
			a.at.Leave(line, "a line is: owner question type answer")
			continue
		}
		if a.kind == "seen" { // whether the question was asked, and no answer
			if a.value != "true" {
				a.at.Leave(a.question+" seen "+a.value, "nobody is asked anything")
			}
			continue
		}
		if before, ok := r.answers[a.question]; ok && before.value != a.value && before.owner == a.owner {
			before.at.Leave(a.question, "line %d answers it again", a.at.Line)
		}
		r.order = append(r.order, a)
		r.answers[a.question] = a
	}
	for _, a := range r.order {
		if r.answers[a.question] == a || r.answers[a.question].owner != a.owner {
			r.read(a)
		}
	}
	r.finish(d.At(from.Name, 1))
}

func parse(line string) (answer, bool) {
	var a answer
	for _, field := range []*string{&a.owner, &a.question, &a.kind} {
		i := strings.IndexAny(line, " \t")
		if i < 0 {
			*field, line = line, ""
			continue
		}
		*field, line = line[:i], strings.TrimLeft(line[i:], " \t")
	}
	a.value = strings.TrimSpace(line)
	switch a.kind {
	case "string", "boolean", "select", "multiselect", "password", "note", "text", "error", "title", "seen":
		return a, strings.Contains(a.question, "/")
	}
	return a, false
}

// value returns the answer to a question, "" where there is none, and marks it as
// understood.
func (r *reader) value(question string) string {
	r.used[question] = true
	return r.answers[question].value
}

// read makes of one answer what can be made of it alone.
func (r *reader) read(a answer) {
	p := a.at
	switch a.question {
	case "mirror/suite", "mirror/codename":
		if suite(a.value) {
			r.Suite = a.value
		} else {
			p.Leave(a.question, "%q is no suite", a.value)
		}
	case "debian-installer/locale":
		p.Locale(a.value)
	case "time/zone":
		p.Zone(a.value)
	case "tasksel/first":
		r.tasks(a)
	case "pkgsel/include":
		for _, n := range strings.FieldsFunc(a.value, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' }) {
			p.Package(n)
		}
	case "base-installer/kernel/image":
		if strings.HasPrefix(a.value, "linux-image-") {
			r.Kernel = kernel(p, a.value)
		} else if a.value != "" {
			p.Leave(a.question, "%q is no kernel package", a.value)
		}
	default:
		if !slices.Contains(together[:], a.question) && !r.spares(a) {
			r.other(a)
		}
	}
}

// together are questions of which something is made with others, at the end.
var together = [...]string{"preseed/late_command", "partman-auto/method", "partman-auto/disk", "partman-auto/choose_recipe", "partman-auto/expert_recipe",
	"partman-auto-lvm/new_vg_name", "passwd/root-password-crypted", "passwd/root-password", "passwd/username", "passwd/user-fullname", "passwd/user-uid",
	"passwd/user-password-crypted", "passwd/user-password", "passwd/user-default-groups", "passwd/make-user", "passwd/root-login",
	"partman-partitioning/default_label", "partman-partitioning/choose_label"}

// aptInstall is how a late command has the installer install packages.
var aptInstall = regexp.MustCompile(`(^|[;&|\n]\s*)apt-install((?:[ \t]+[a-z0-9][a-z0-9+.-]+)+)`)

// inTarget turns a command for the installer into one for the system that it
// installs: in-target is what runs commands there, and /target where it is. The
// packages that it has the installer install are the job's.
func inTarget(p *draft.Place, command string) string {
	command = strings.NewReplacer("in-target ", "", "chroot /target ", "", "/target/", "/").Replace(command)
	return aptInstall.ReplaceAllStringFunc(command, func(s string) string {
		m := aptInstall.FindStringSubmatch(s)
		p.Package(strings.Fields(m[2])...)
		return m[1] + ":"
	})
}

func suite(s string) bool {
	return s != "" && len(s) < 40 && !strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }) && s[0] != '-'
}

func kernel(p *draft.Place, name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("+-.", r))
	}) {
		p.Leave(name, "this is no name of a Debian package")
		return ""
	}
	return name
}

// tasks reads tasksel's tasks, which are packages called task-...
func (r *reader) tasks(a answer) {
	for _, t := range strings.Split(a.value, ",") {
		switch t = strings.TrimSpace(t); t {
		case "", "minimal":
		case "standard":
			a.at.Leave("task standard", "the base set of a job has what Debian calls required: name what else is needed")
		default:
			a.at.Package("task-" + strings.ReplaceAll(strings.ToLower(t), " ", "-"))
		}
	}
}

// other says of an answer why it is left, or gives it to debconf.
func (r *reader) other(a answer) {
	if reason, ok := why(a.question); ok {
		a.at.Leave(a.question, "%s", reason)
		return
	}
	r.debconf(a)
}

// debconf gives an answer to the package whose question it is.
func (r *reader) debconf(a answer) {
	if a.owner == "d-i" {
		a.at.Leave(a.question, "this question of the installer is not known here")
		return
	}
	line := strings.Join([]string{a.owner, a.question, a.kind, a.value}, " ")
	if !plain(a.owner) {
		a.at.Leave(line, "%q is no package", a.owner)
		return
	}
	run := "echo " + draft.Quote(line) + " | debconf-set-selections\n" +
		"if dpkg -s " + a.owner + " >/dev/null 2>&1; then DEBIAN_FRONTEND=noninteractive dpkg-reconfigure " + a.owner + "; fi"
	a.at.Step("debconf-"+a.owner, run, false)
}

func plain(s string) bool {
	return len(s) > 1 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("+-.", r))
	}) && s[0] != '-'
}

// finish reads what several answers say together.
func (r *reader) finish(p *draft.Place) {
	r.accounts(p)
	r.disks(p)
	if late := r.value("preseed/late_command"); late != "" { // the last of all, as its name says
		at := r.place("preseed/late_command", p)
		at.Script("late", "/bin/sh", inTarget(at, late))
	}
	for _, question := range together {
		if a, ok := r.answers[question]; ok && !r.used[question] && a.value != "" {
			a.at.Leave(question, "nothing is made of it, as the answers are that it goes with")
		}
	}
}

// place returns where a question was answered.
func (r *reader) place(question string, otherwise *draft.Place) *draft.Place {
	if a, ok := r.answers[question]; ok {
		return a.at
	}
	return otherwise
}

func (r *reader) accounts(p *draft.Place) {
	password := func(user, question string) {
		if h := r.value(question + "-crypted"); h != "" {
			r.value(question) // the other is taken
			r.place(question+"-crypted", p).Password(user, h, true)
		} else if s := r.value(question); s != "" {
			r.place(question, p).Password(user, s, false)
		}
	}
	if r.value("passwd/root-login") == "false" {
		r.place("passwd/root-login", p).Step("password-root", "passwd -l root", false)
	} else {
		password("root", "passwd/root-password")
	}
	if name := r.value("passwd/username"); name != "" && r.value("passwd/make-user") != "false" {
		at := r.place("passwd/username", p)
		at.Account(draft.User{Name: name, Full: r.value("passwd/user-fullname"), UID: r.value("passwd/user-uid"),
			Groups: strings.Fields(r.value("passwd/user-default-groups"))})
		password(name, "passwd/user-password")
	}
}
