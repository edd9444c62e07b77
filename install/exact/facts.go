package exact

import (
	"path"
	"strings"

	"ore/install/dpkg"
)

// Facts is what has to be known of a package.
type Facts struct {
	Package   *dpkg.Package   // its paragraph and the files of its control member
	Paths     []string        // what it brings, relative to the root
	add       string          // why it cannot be added, "" if it can
	remove    string          // why it cannot be removed
	mentions  map[string]bool // by its scripts
	interests []string        // its triggers
	activates []string        // by name
	leaves    []string        // what is left of it when it is removed
}

// Of judges a package by its scripts and by what was seen. Its control member
// must be whole; paths are what it brings.
func Of(p *dpkg.Package, paths []string, seen Memory) *Facts {
	f := &Facts{Package: p, Paths: paths, mentions: map[string]bool{}}
	for _, name := range scripts {
		text, ok := p.Files[name]
		if !ok || dpkg.Idle(text) {
			continue
		}
		add, remove := judge(string(text))
		if add != "" {
			f.add = name + ": " + add
		}
		if remove != "" {
			f.remove = name + ": " + remove
		}
		words(string(text), func(w string) { f.mentions[w] = true })
	}
	for line := range strings.Lines(string(p.Files["triggers"])) {
		line, _, _ = strings.Cut(line, "#")
		w := strings.Fields(line)
		switch {
		case len(w) != 2:
		case strings.HasPrefix(w[0], "interest"):
			f.interests = append(f.interests, w[1])
		default:
			f.activates = append(f.activates, w[1])
		}
	}
	seen.judge(f)
	return f
}

// programs are the folders in which a name without a path is looked up.
var programs = map[string]bool{"bin": true, "sbin": true, "usr/bin": true, "usr/sbin": true, "usr/games": true}

// shared are folders that so many packages have files in that naming one of
// them says nothing.
var shared = map[string]bool{
	"/usr/lib/python3": true, "/usr/lib/python3/dist-packages": true, "/usr/share/doc": true, "/usr/share/man": true, "/usr/share/info": true, "/usr/share/locale": true,
	"/usr/lib/x86_64-linux-gnu": true, "/usr/local/bin": true, "/usr/share/lintian": true, "/var/lib/dpkg": true,
	"/etc/alternatives": true, "/etc/default": true, "/etc/init": true, "/etc/init.d": true,
}

// depth is how many parts a path must have for a mention of it to mean
// something: "/usr/share" is everybody's. In /etc one less is enough.
const depth = 3

// telling tells whether a mention of the folder means something.
func telling(dir string) bool {
	parts := strings.Count(dir, "/")
	return (parts >= depth || parts == depth-1 && strings.HasPrefix(dir, "/etc/")) &&
		!shared[dir] && path.Dir(dir) != "/usr/share/man"
}

// index says which package's scripts mention a word.
type index map[string]*Facts

// mentions makes the index of packages.
func mentions(list []*Facts) index {
	x := index{}
	for _, f := range list {
		for w := range f.mentions {
			x[w] = f
		}
	}
	return x
}

// of tells what of m's files or name is mentioned, and by whose scripts.
func (x index) of(m *Facts) (string, *Facts) {
	if by := x[m.Package.Name]; by != nil {
		return m.Package.Name, by
	}
	for _, name := range m.Paths {
		if by := x[path.Base(name)]; by != nil && programs[path.Dir(name)] {
			return path.Base(name), by
		}
		for dir := "/" + name; dir != "/"; dir = path.Dir(dir) {
			if by := x[dir]; by != nil && telling(dir) {
				return dir, by
			}
		}
	}
	return "", nil
}
