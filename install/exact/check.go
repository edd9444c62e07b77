package exact

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"ore/install/dpkg"
)

// Sets are the packages of two images.
type Sets struct {
	Base    []*Facts
	Common  []*Facts
	Extra   []*Facts // only the candidate has them: they are removed
	Missing []*Facts // only the wish has them: they are added
}

// regenerating are triggers whose work depends on what is there alone.
var regenerating = map[string]bool{
	"ldconfig":               true,
	"/usr/share/man":         true,
	"/usr/lib/mime/packages": true, "/usr/share/applications": true, "/usr/share/mime/packages": true,
	"/usr/share/debianutils/shells.d": true,
}

// Known tells which package's scripts are not known to leave no trace; "" if
// all are.
func (s Sets) Known() string {
	for _, f := range s.Extra {
		if f.remove != "" {
			return fmt.Sprintf("package %s is not known to be removable without a trace: its %s", f.Package.Name, f.remove)
		}
	}
	for _, f := range s.Missing {
		if f.add != "" {
			return fmt.Sprintf("package %s is not known to be addable later: its %s", f.Package.Name, f.add)
		}
	}
	return ""
}

// Apart tells what those that come or go and those that stay have to do with
// each other, other than by dependencies; "" if it is nothing.
func (s Sets) Apart() string {
	moving := slices.Concat(s.Extra, s.Missing)
	staying := slices.Concat(s.Base, s.Common)
	mentioned := mentions(s.Common)
	if why := s.shared(); why != "" {
		return why
	}
	for _, m := range moving {
		if what, by := mentioned.of(m); by != nil {
			return fmt.Sprintf("a script of %s mentions %s, which package %s changes", by.Package.Name, what, m.Package.Name)
		}
		for _, f := range staying {
			if t := f.triggered(m); t != "" {
				return fmt.Sprintf("package %s activates %s of %s", m.Package.Name, t, f.Package.Name)
			}
			if dpkg.Replaces(m.Package, f.Package) || dpkg.Replaces(f.Package, m.Package) {
				return fmt.Sprintf("packages %s and %s replace files of each other", m.Package.Name, f.Package.Name)
			}
		}
	}
	return ""
}

// Leaves lists what is to go with the packages that do: users and groups, and
// paths.
func (s Sets) Leaves() (accounts, paths []string) {
	for _, f := range s.Extra {
		for _, name := range f.leaves {
			if strings.HasPrefix(name, "/") {
				paths = append(paths, name)
			} else {
				accounts = append(accounts, name)
			}
		}
	}
	return accounts, paths
}

// shared tells which package that stays or comes uses what goes with others.
func (s Sets) shared() string {
	users := mentions(slices.Concat(s.Common, s.Missing))
	accounts, paths := s.Leaves()
	for _, name := range append(accounts, paths...) {
		if by := users[name]; by != nil {
			return fmt.Sprintf("a script of %s mentions %s, which goes", by.Package.Name, name)
		}
	}
	return ""
}

// triggered returns a trigger of f that coming or going of m activates and that
// is not known to be harmless.
func (f *Facts) triggered(m *Facts) string {
	for _, t := range f.interests {
		if regenerating[t] {
			continue
		}
		if slices.Contains(m.activates, t) {
			return t
		}
		if strings.HasPrefix(t, "/") && slices.ContainsFunc(m.Paths, func(p string) bool { return below("/"+p, t) }) {
			return t
		}
	}
	return ""
}

// below tells whether the path is dir or in it.
func below(name, dir string) bool {
	rest, ok := strings.CutPrefix(name, path.Clean(dir))
	return ok && (rest == "" || rest[0] == '/')
}
