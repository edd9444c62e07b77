// Package names maps the names of RPM packages and of their groups to those of
// Debian packages. A table has a line for each name: the name, then none or more
// of Debian's; # begins a comment. A name without any is one that Debian has
// always, or has no use for. A user's table goes before the built-in one.
package names

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:embed rpm.txt
var builtin string

// Table maps names.
type Table map[string][]string

// RPM returns the built-in table.
func RPM() Table {
	t := Table{}
	if err := t.Read(strings.NewReader(builtin), "rpm.txt"); err != nil {
		panic("names: the built-in table: " + err.Error())
	}
	return t
}

// maxLine bounds a line of a table: no package needs a hundred others.
const maxLine = 8 << 10

// Read adds the lines of r, called name in errors, over those that are there.
func (t Table) Read(r io.Reader, name string) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	n := 0
	for s.Scan() {
		n++
		line, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		t[f[0]] = f[1:]
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read table %s: line %d: %w: write a name and Debian's names for it in each line", name, n+1, err)
	}
	return nil
}

// Debian returns what Debian calls a package, and whether the table knows it. A
// name with an architecture after a dot is known by the name alone.
func (t Table) Debian(name string) ([]string, bool) {
	if d, ok := t[name]; ok {
		return d, true
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 && (name[i+1:] == "x86_64" || name[i+1:] == "i686" || name[i+1:] == "noarch") {
		d, ok := t[name[:i]]
		return d, ok
	}
	return nil, false
}
