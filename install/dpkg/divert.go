package dpkg

import (
	"fmt"
	"strconv"
	"strings"
)

// Diversions says where files go instead of where their packages put them
// (dpkg-divert(1)).
type Diversions map[string]diversion

type diversion struct {
	to string
	by string // the package that diverts and is itself not diverted; ":" for the administrator
}

// ParseDiversions reads the file diversions: three lines each.
func ParseDiversions(b []byte) (Diversions, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(b) == 0 {
		return Diversions{}, nil
	}
	if len(lines)%3 != 0 {
		return nil, fmt.Errorf("diversions: %d lines are no multiple of three", len(lines))
	}
	d := Diversions{}
	for i := 0; i < len(lines); i += 3 {
		from, ok := strings.CutPrefix(lines[i], "/")
		to, ok2 := strings.CutPrefix(lines[i+1], "/")
		if !ok || !ok2 {
			return nil, fmt.Errorf("diversions: %q to %q: not absolute paths", lines[i], lines[i+1])
		}
		d[from] = diversion{to: to, by: lines[i+2]}
	}
	return d, nil
}

// Place returns where the file name of package pkg goes.
func (d Diversions) Place(pkg, name string) string {
	if v, ok := d[name]; ok && v.by != pkg {
		return v.to
	}
	return name
}

// Override is what an administrator or a script wants a file's owner and mode
// to be whatever its package says (dpkg-statoverride(1)).
type Override struct {
	UID, GID uint32
	Mode     uint32
}

// ParseOverrides reads the file statoverride. Names of users and groups are
// looked up in the tree's passwd and group, "#n" is a number.
func ParseOverrides(b, passwd, group []byte) (map[string]Override, error) {
	list := map[string]Override{}
	for line := range strings.Lines(string(b)) {
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(words) != 4 {
			return nil, fmt.Errorf("statoverride: line %q has not four words", line)
		}
		uid, err := number(words[0], passwd)
		if err != nil {
			return nil, fmt.Errorf("statoverride: %w", err)
		}
		gid, err := number(words[1], group)
		if err != nil {
			return nil, fmt.Errorf("statoverride: %w", err)
		}
		mode, err := strconv.ParseUint(words[2], 8, 12)
		if err != nil {
			return nil, fmt.Errorf("statoverride: mode %q: %w", words[2], err)
		}
		list[strings.TrimPrefix(words[3], "/")] = Override{UID: uid, GID: gid, Mode: uint32(mode)}
	}
	return list, nil
}

// number finds name in table, which is in the format of passwd(5) or group(5).
func number(name string, table []byte) (uint32, error) {
	text, ok := strings.CutPrefix(name, "#")
	for line := range strings.Lines(string(table)) {
		if ok {
			break
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) > 2 && f[0] == name {
			text, ok = f[2], true
		}
	}
	if !ok {
		return 0, fmt.Errorf("owner %q is not known", name)
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("owner %q: %w", name, err)
	}
	return uint32(n), nil
}
