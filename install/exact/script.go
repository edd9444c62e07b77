package exact

import (
	"regexp"
	"strings"
)

// section tells what a section of a debhelper program is good for.
type section struct{ add, remove bool }

// sections are the debhelper programs whose sections are known.
//
// Of those not in the list, dh_usrlocal's folders may be several packages',
// dh_installxmlcatalogs and dh_installcatalogs write to files that all share,
// and dh_icons leaves caches.
var sections = map[string]section{
	"dh_installdeb":          {true, true}, // dpkg-maintscript-helper: for upgrades only
	"dh_installsystemd":      {true, true},
	"dh_systemd_enable":      {true, true},
	"dh_systemd_start":       {true, true},
	"dh_installinit":         {true, true},
	"dh_python3":             {true, true},
	"dh_installalternatives": {true, true},
	"dh_installmenu":         {true, true}, // does nothing without the package menu
	"dh_installsystemduser":  {true, true},
	"dh_installtmpfiles":     {true, false}, // leaves its folders
	"dh_installsysusers":     {true, false}, // leaves its users
}

// scripts are the members of a package that run.
var scripts = [...]string{"preinst", "postinst", "prerm", "postrm", "config"}

const (
	sectionStart = "# Automatically added by "
	sectionEnd   = "# End automatically added section"
)

// judge tells why a script's package cannot be added or removed; "" if it can.
func judge(text string) (add, remove string) {
	var own strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, starts := strings.CutPrefix(line, sectionStart)
		switch {
		case starts:
			inside = true
			name, _, _ = strings.Cut(name, "/")
			s := sections[name]
			if !s.add {
				add = "has a script with a section of " + name
			}
			if !s.remove {
				remove = "has a script with a section of " + name
			}
		case line == sectionEnd:
			inside = false
		case !inside:
			own.WriteString(line + "\n")
		}
	}
	if line := strange(own.String()); line != "" {
		why := "has a script of its own"
		return why, why
	}
	return add, remove
}

var (
	// argument is a comparison of the script's first argument.
	argument = `(\[ "?\$1"? !?=?= "?[a-z-]+"?( -[oa] "?\$1"? !?=?= "?[a-z-]+"?)* \])`
	// plain are the statements of which a script may consist.
	plain = []*regexp.Regexp{
		regexp.MustCompile(`^(set -[eu]+|exit [01]|:|true|fi|else|then|esac|;;|\(?[a-z"*?|\\ -]+\) ?(;;)?)$`),
		regexp.MustCompile(`^(if|elif) ` + argument + `( (\|\||&&) ` + argument + `)*( ?; ?then)?$`),
		regexp.MustCompile(`^case "?\$\{?1\}?"? in$`),
		regexp.MustCompile("^echo [^$`;&|<>]*(\\$1[^$`;&|<>]*)?( ?>&2)?$"),
		regexp.MustCompile("^update-alternatives [^$`;&|<>(){}]*( \\|\\| true)?$"),
	}
)

// strange returns the first statement that is not plain, "" if there is none.
func strange(text string) string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		if line == "" || strings.HasPrefix(line, "#") || isPlain(line) {
			continue
		}
		return line
	}
	return ""
}

func isPlain(line string) bool {
	for _, r := range plain {
		if r.MatchString(line) {
			return true
		}
	}
	return false
}

// words lists the words of a script that could name something, without
// comments. A path ends where something unknown begins.
func words(text string, add func(string)) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, w := range strings.FieldsFunc(line, func(r rune) bool { return !strings.ContainsRune(nameRunes, r) }) {
			add(strings.TrimRight(w, "/."))
		}
	}
}

// nameRunes are what names of packages, programs and paths consist of.
const nameRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-"
